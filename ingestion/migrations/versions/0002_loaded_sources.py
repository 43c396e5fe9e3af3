"""Which source filled `users` and `videos`: written in the same transaction as the rows, so it is never wrong."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "loaded_sources",
        sa.Column("entity", sa.Text, primary_key=True, comment="the table that was filled"),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False, comment="rows the source gave"),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )


def downgrade() -> None:
    op.drop_table("loaded_sources")
