"""Who was erased: a pseudonym each, never an id, and the receipt; and the key that makes the pseudonyms."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "erasure_key",
        sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column(
            "key", sa.LargeBinary, nullable=False, comment="of the pseudonyms; made at the first erasure"
        ),
        sa.CheckConstraint("only_row", name="erasure_key_has_one_row"),
    )
    op.create_table(
        "erased_users",
        sa.Column("user_hash", sa.Text, primary_key=True, comment="keyed BLAKE2b of the user id, hex"),
        sa.Column("requested_at", _INSTANT, nullable=False, server_default=sa.text("now()")),
        sa.Column("completed_at", _INSTANT, comment="when no place held or awaited anything any more"),
        sa.Column("progress", JSONB, nullable=False, server_default=sa.text("'{}'"), comment="to resume by"),
        sa.Column("receipt", JSONB, comment="every place, as last checked"),
    )


def downgrade() -> None:
    op.drop_table("erased_users")
    op.drop_table("erasure_key")
