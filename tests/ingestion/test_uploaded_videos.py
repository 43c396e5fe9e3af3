"""Videos that were uploaded stay where they are, whatever a source brings, changes or takes away."""

import pytest
from sqlalchemy import text

from ingestion.load import load_videos
from ingestion.postgres_schema import connect
from ingestion.simulator import Simulator
from orchestration.summary import stored_rows
from stack.settings import Settings

pytestmark = pytest.mark.stack
UPLOADED = text(
    "INSERT INTO videos (video_id, creator_id, title, peertube_uuid) VALUES ('mine', 'c', 'Mine', gen_random_uuid())"
)


def rows(settings: Settings, condition: str) -> int:
    with connect(settings) as connection:
        query = text(f"SELECT count(*) FROM videos WHERE {condition}")
        return int(connection.execute(query).scalar_one())


def test_an_upload_before_during_and_after_loads_is_kept_and_not_counted(stores: Settings) -> None:
    with connect(stores) as connection:
        connection.execute(UPLOADED)
        connection.commit()
    first = load_videos(stores, Simulator(scale=0.02))  # an upload is no foreign data
    assert first.table_rows == first.stored == rows(stores, "peertube_uuid IS NULL")
    assert load_videos(stores, Simulator(scale=0.02)).skipped
    other = load_videos(stores, Simulator(scale=0.03))
    assert not other.skipped
    assert other.table_rows == rows(stores, "peertube_uuid IS NULL")
    assert rows(stores, "video_id = 'mine' AND title = 'Mine'") == 1
    assert stored_rows(stores)["videos"] == other.table_rows  # or the demo would load again after each upload
