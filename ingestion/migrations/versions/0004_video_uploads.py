"""Uploads by their idempotency key: a video is uploaded once, however often and from wherever it is asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "video_uploads",
        sa.Column("key_hash", sa.Text, primary_key=True, comment="SHA-256 of the idempotency key, hex"),
        sa.Column(
            "content_hash",
            sa.Text,
            nullable=False,
            comment="SHA-256 of file and metadata: what the key means",
        ),
        sa.Column("video_id", sa.Text, nullable=False, unique=True),
        sa.Column("peertube_uuid", sa.Uuid, comment="null until PeerTube has the file, as far as we know"),
        sa.Column("claimed_at", _INSTANT, nullable=False, server_default=sa.text("now()")),
        sa.Column("registered_at", _INSTANT, comment="when the video came into `videos`"),
    )


def downgrade() -> None:
    op.drop_table("video_uploads")
