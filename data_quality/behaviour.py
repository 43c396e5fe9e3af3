"""What the drift check compares: how people watch now against how they watched while the served models learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import pandas as pd

from data_quality.drift import MAX_ROWS, MIN_ROWS, TooLittleDataError
from data_quality.training_set import WINDOW_DAYS
from data_quality.windows import Window, from_epoch_ms

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Whole weeks: a weekend against a week is a difference every week has.
CURRENT_DAYS = 7
# A session left open over night says nothing about taste but would widen the deviation all shifts are measured by.
RATIO_CAP = 2.0
WATCH_TIME_CAP_MS = 600_000

# The sample is by hash of the row's key: the same rows each time, whatever order the table is in.
_BEHAVIOUR = """
SELECT watch_time_ratio, total_watch_time_ms, hour, is_finished,
       if(videos.category = '', 'unknown', videos.category) AS category
FROM (
    SELECT video_id, least(watch_time_ratio, {ratio_cap:Float64}) AS watch_time_ratio,
           least(total_watch_time_ms, {time_cap:Int64}) AS total_watch_time_ms,
           toString(toHour(started_at, 'UTC')) AS hour, toBool(is_finished) AS is_finished
    FROM watch_sessions
    WHERE last_hour >= fromUnixTimestamp64Milli({start_ms:Int64} - 3600000, 'UTC') -- prunes: stored by it
      AND started_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')
      AND started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
    ORDER BY cityHash64(session_id, user_id, video_id), session_id, user_id, video_id
    LIMIT {rows:UInt64}
) AS sessions
LEFT JOIN (SELECT video_id, ifNull(category, '') AS category FROM stg_videos) AS videos USING (video_id)
"""


Now = Literal["since training", "last days"]


class NoHistoryError(TooLittleDataError):
    """There are no sessions to compare with, or they span less than two days."""


@dataclass(frozen=True)
class Behaviour:
    """The sample of either window. Columns: watch_time_ratio, total_watch_time_ms, hour, is_finished, category.

    `current_is` says what the current sessions are: all "since training", none of which the models have seen, or
    the "last days", some of which they may have.
    """

    reference: pd.DataFrame
    current: pd.DataFrame
    reference_window: Window
    current_window: Window
    current_is: Now


def comparison_windows(
    first: datetime, as_of: datetime, *, current_days: int = CURRENT_DAYS, reference_days: int = WINDOW_DAYS
) -> tuple[Window, Window]:
    """`(reference, current)`: the last `current_days`, and up to `reference_days` before them.

    History shorter than twice `current_days` is halved, in whole days (each has the same hours of the day).
    Raises `NoHistoryError`.
    """
    days = (as_of - first) // timedelta(days=1)
    if days < 2:
        raise NoHistoryError(f"watch_sessions reach back {as_of - first}, less than two days")
    recent = min(current_days, days // 2)
    current = Window(as_of, recent)
    return Window(current.start, min(reference_days, days - recent)), current


def fetch_behaviour(
    client: "Client",
    *,
    as_of: datetime,
    reference: Window | None = None,
    current_days: int = CURRENT_DAYS,
    reference_days: int = WINDOW_DAYS,
    min_rows: int = MIN_ROWS,
    max_rows: int = MAX_ROWS,
) -> Behaviour:
    """Sample at most `max_rows` sessions of each window. Raises `NoHistoryError`.

    `reference`: the window of the training set the served models learned from. Current are then the sessions after
    it, in whole days back from `as_of`, if that is at least a day and `min_rows` sessions; else the last
    `current_days`, of which the training set may hold a part. Without `reference` the windows are those of
    `comparison_windows`.
    """
    current_is: Now = "last days"
    if reference is None:
        past = Window(as_of, current_days + reference_days)
        first = _first_session(client, past)
        if first is None:
            raise NoHistoryError(f"no watch session in the {past.days} days before {as_of}")
        reference, current = comparison_windows(
            first, as_of, current_days=current_days, reference_days=reference_days
        )
    else:
        if _first_session(client, reference) is None:
            raise NoHistoryError(f"no watch session in the training window {reference}")
        since = Window(as_of, max(0, (as_of - reference.as_of) // timedelta(days=1)))
        if since.days and _count(client, since) >= min_rows:
            current, current_is = since, "since training"
        else:
            current = Window(as_of, current_days)
    return Behaviour(
        reference=_fetch(client, reference, max_rows),
        current=_fetch(client, current, max_rows),
        reference_window=reference,
        current_window=current,
        current_is=current_is,
    )


def _count(client: "Client", window: Window) -> int:
    [[sessions, _]] = _sessions_of(client, window)
    return int(sessions)


def _first_session(client: "Client", window: Window) -> datetime | None:
    [[sessions, first_ms]] = _sessions_of(client, window)
    return from_epoch_ms(int(first_ms)) if sessions else None


def _sessions_of(client: "Client", window: Window) -> Sequence[Sequence[int]]:
    start_ms, end_ms = window.milliseconds()
    return client.query(
        "SELECT count(), toUnixTimestamp64Milli(min(started_at)) FROM watch_sessions"
        " WHERE last_hour >= fromUnixTimestamp64Milli({start_ms:Int64} - 3600000, 'UTC')"
        " AND started_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')"
        " AND started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')",
        parameters={"start_ms": start_ms, "end_ms": end_ms},
    ).result_rows


def _fetch(client: "Client", window: Window, max_rows: int) -> pd.DataFrame:
    start_ms, end_ms = window.milliseconds()
    return client.query_arrow(
        _BEHAVIOUR,
        parameters={
            "start_ms": start_ms,
            "end_ms": end_ms,
            "rows": max_rows,
            "ratio_cap": RATIO_CAP,
            "time_cap": WATCH_TIME_CAP_MS,
        },
    ).to_pandas()
