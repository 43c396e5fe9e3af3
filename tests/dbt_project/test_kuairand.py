"""The real data: every impression is one session, and it lasted as long as the log says."""

from pathlib import Path

import pandas as pd
import pytest

from ingestion.kuairand import KuaiRand
from ingestion.load import load

from .warehouse import Warehouse

KEY = ["user_id", "video_id", "time_ms"]


@pytest.mark.slow
def test_every_session_lasted_exactly_the_logs_play_time(warehouse: Warehouse, real_data: Path) -> None:
    folder = real_data / "KuaiRand-Pure"
    load(warehouse.settings, KuaiRand(folder))
    warehouse.dbt("build", "--exclude-resource-type", "unit_test")

    log = pd.concat(pd.read_csv(path) for path in sorted((folder / "data").glob("log_*_pure.csv")))
    # Of rows that repeat an impression the longest is the truth (the data's README).
    expected = log.groupby(KEY)["play_time_ms"].max().sort_index()
    sessions = warehouse.client.query_df(
        "SELECT toInt64(user_id) AS user_id, toInt64(video_id) AS video_id,"
        " toUnixTimestamp64Milli(started_at) AS time_ms, total_watch_time_ms, effective_watch_time_ms,"
        " was_played, exit_reason FROM watch_sessions"
    )
    assert len(sessions) == 222_444
    sessions = sessions.set_index(KEY).sort_index()
    assert sessions.index.equals(expected.index)
    assert (sessions["total_watch_time_ms"].to_numpy() == expected.to_numpy()).all()
    assert (sessions["effective_watch_time_ms"].to_numpy() == expected.to_numpy()).all()
    assert (sessions["was_played"].to_numpy() == (expected.to_numpy() > 0)).all()

    # Features reach back 30 days and the log is of 14, so they count every session.
    assert warehouse.rows("SELECT count(), sum(total_sessions) FROM user_features") == [(27_285, 222_444)]
    assert warehouse.rows("SELECT count(), sum(total_sessions) FROM video_features") == [(7_583, 222_444)]
    likes = int(log.groupby(KEY)["is_like"].max().sum())
    assert warehouse.rows("SELECT sum(like_count) FROM video_features") == [(likes,)]
    assert warehouse.rows("SELECT count(), countIf(liked = 1) FROM interactions") == [(222_444, likes)]

    before = warehouse.rows(
        "SELECT cityHash64(groupArray(tuple(*))) FROM (SELECT * FROM watch_sessions ORDER BY ALL)"
    )
    warehouse.dbt("run", "-s", "watch_sessions")
    after = warehouse.rows(
        "SELECT cityHash64(groupArray(tuple(*))) FROM (SELECT * FROM watch_sessions ORDER BY ALL)"
    )
    assert after == before
