"""What the drift check compares: how people watched lately against how they watched in the training window."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from data_quality.drift import MAX_ROWS
from data_quality.training_set import WINDOW_DAYS, Window, epoch_ms, from_epoch_ms

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
    WHERE started_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')
      AND started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
    ORDER BY cityHash64(session_id, user_id, video_id), session_id, user_id, video_id
    LIMIT {rows:UInt64}
) AS sessions
LEFT JOIN (SELECT video_id, ifNull(category, '') AS category FROM stg_videos) AS videos USING (video_id)
"""


class NoHistoryError(Exception):
    """The sessions span less than two days: there is no past to compare with."""


@dataclass(frozen=True)
class Behaviour:
    """The sample of either window. Columns: watch_time_ratio, total_watch_time_ms, hour, is_finished, category."""

    reference: pd.DataFrame
    current: pd.DataFrame
    reference_window: Window
    current_window: Window


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
    current_days: int = CURRENT_DAYS,
    reference_days: int = WINDOW_DAYS,
    max_rows: int = MAX_ROWS,
) -> Behaviour:
    """Sample at most `max_rows` sessions of each window. Raises `NoHistoryError`."""
    [[sessions, first_ms]] = client.query(
        "SELECT count(), toUnixTimestamp64Milli(min(started_at)) FROM watch_sessions"
        " WHERE started_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')"
        " AND started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')",
        parameters={
            "start_ms": epoch_ms(as_of - timedelta(days=current_days + reference_days)),
            "end_ms": epoch_ms(as_of),
        },
    ).result_rows
    if not sessions:
        raise NoHistoryError(f"no watch session in the {current_days + reference_days} days before {as_of}")
    reference_window, current_window = comparison_windows(
        from_epoch_ms(int(first_ms)), as_of, current_days=current_days, reference_days=reference_days
    )
    return Behaviour(
        reference=_fetch(client, reference_window, max_rows),
        current=_fetch(client, current_window, max_rows),
        reference_window=reference_window,
        current_window=current_window,
    )


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
