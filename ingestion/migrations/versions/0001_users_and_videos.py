"""`users` and `videos` as requirement R1.3 has them.

A migration is history: it spells out the values of its day instead of importing the contract of ours.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0001"
down_revision = None

_NO_TEXT = sa.text("''")
_NO_TEXTS = sa.text("'{}'")
_NOW = sa.text("now()")
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("created_at", _INSTANT),
        sa.Column("age", sa.SmallInteger),
        sa.Column("gender", sa.Text, nullable=False, server_default="unknown"),
        sa.Column("language", sa.Text, nullable=False, server_default=_NO_TEXT),
        sa.Column("interested_categories", ARRAY(sa.Text), nullable=False, server_default=_NO_TEXTS),
        sa.Column("avg_daily_watch_time_ms", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("device_type", sa.Text, nullable=False, server_default="unknown"),
        sa.Column("preferred_creators", ARRAY(sa.Text), nullable=False, server_default=_NO_TEXTS),
        sa.Column("engagement_score", sa.Double, nullable=False, server_default=sa.text("0")),
        sa.Column("region", sa.Text, nullable=False, server_default=_NO_TEXT),
        sa.Column("updated_at", _INSTANT, nullable=False, server_default=_NOW),
        sa.CheckConstraint("gender IN ('male', 'female', 'unknown')", name="users_gender"),
    )
    op.create_index("ix_users_region", "users", ["region"])
    op.create_index("ix_users_language", "users", ["language"])
    op.create_index("ix_users_engagement_score", "users", [sa.text("engagement_score DESC")])
    op.create_index(
        "ix_users_interested_categories", "users", ["interested_categories"], postgresql_using="gin"
    )
    op.create_table(
        "videos",
        sa.Column("video_id", sa.Text, primary_key=True),
        sa.Column("creator_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False, server_default=_NO_TEXT),
        sa.Column("description", sa.Text, nullable=False, server_default=_NO_TEXT),
        sa.Column("upload_time", _INSTANT),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("category", sa.Text, nullable=False, server_default=_NO_TEXT),
        sa.Column("tags", ARRAY(sa.Text), nullable=False, server_default=_NO_TEXTS),
        sa.Column("language", sa.Text, nullable=False, server_default=_NO_TEXT),
        sa.Column("sound_id", sa.Text),
        sa.Column("thumbnail_url", sa.Text, nullable=False, server_default=_NO_TEXT),
        sa.Column("is_trending", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("view_count", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("like_count", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("peertube_uuid", sa.Uuid),
        sa.Column("updated_at", _INSTANT, nullable=False, server_default=_NOW),
    )
    op.create_index("ix_videos_creator_id", "videos", ["creator_id"])
    op.create_index("ix_videos_category", "videos", ["category"])
    op.create_index("ix_videos_upload_time", "videos", [sa.text("upload_time DESC")])
    op.create_index("ix_videos_tags", "videos", ["tags"], postgresql_using="gin")
    op.create_index("ix_videos_trending", "videos", ["video_id"], postgresql_where=sa.text("is_trending"))
    op.create_index("ix_videos_language", "videos", ["language"])
    op.create_index("ix_videos_sound_id", "videos", ["sound_id"])


def downgrade() -> None:
    op.drop_table("videos")
    op.drop_table("users")
