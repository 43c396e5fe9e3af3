"""The real data set, through the stores: compared with a computation of pandas' own from the CSV."""

from pathlib import Path

import pandas as pd
import pytest
from clickhouse_connect.driver.client import Client

from ingestion.kuairand import KuaiRand
from ingestion.load import load
from stack.settings import Settings

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    folder = real_data / "KuaiRand-Pure"
    if not folder.is_dir():
        pytest.skip(f"no KuaiRand-Pure in {real_data}")
    return folder


def test_every_session_lasts_exactly_what_the_log_says(
    stores: Settings, client: Client, folder: Path
) -> None:
    users, videos, events = load(stores, KuaiRand(folder))

    assert (users.stored, users.table_rows) == (27_285, 27_285)
    assert (videos.stored, videos.table_rows) == (7_583, 7_583)
    assert events.rows_read == 228_329
    assert (events.sent, events.stored, events.duplicate, events.quarantined) == (427_572, 427_572, 0, 0)

    measured = client.query_df(
        """
        SELECT user_id, video_id,
               toUnixTimestamp64Milli(min(impression_timestamp)) AS time_ms,
               maxIf(impression_timestamp, event_type IN ('view_end', 'scroll_pass')) AS ended,
               if(countIf(event_type = 'view_start') = 0, 0,
                  toUnixTimestamp64Milli(ended)
                  - toUnixTimestamp64Milli(minIf(impression_timestamp, event_type = 'view_start'))) AS play_time_ms
        FROM playback_events GROUP BY session_id, user_id, video_id
        """
    ).astype({"user_id": "int64", "video_id": "int64"})
    log = pd.read_csv(folder / "data" / "log_standard_4_22_to_5_08_pure.csv")
    key = ["user_id", "video_id", "time_ms"]
    expected = log.groupby(key, as_index=False).play_time_ms.max()
    assert len(expected) == 222_444
    both = expected.merge(measured, on=key, how="outer", suffixes=("_log", "_stored"))
    assert len(both) == 222_444
    assert (both.play_time_ms_log == both.play_time_ms_stored).all()

    by_type = client.query("SELECT event_type, count() FROM playback_events GROUP BY 1").result_rows
    counts: dict[str, int] = {str(kind): int(number) for kind, number in by_type}
    assert counts["view_start"] == (expected.play_time_ms > 0).sum()
    flags = log.groupby(key)[["is_like", "is_comment", "is_forward", "is_follow"]].max().sum()
    assert [counts[name] for name in ("like", "comment", "share", "follow_creator")] == flags.tolist()

    again = load(stores, KuaiRand(folder))
    assert [report.skipped for report in again] == [True, True, True]
    assert sum(report.seconds for report in again) < 2
