"""29 days before the real one, made from its daily rows: 3 billion events are out of reach here, their sums are not.

Each earlier day has the rows of the real day under shifted names: `back` days earlier user u + 37 * back has the row of
user u, one of the hundredth of popular videos that of the next such, and a video of the others that of one 37 * back
before it. So every day is as large and as skewed as the real one, a popular video stays popular, what a user watched
and who watched a video differ from day to day, and no state lies near a copy of itself, which would compress.
"""

from orchestration.bench.data.generate import DAY
from orchestration.bench.data.stores import Stores

DAYS_BEFORE = 29

_USERS = """
INSERT INTO int_daily_user_activity
SELECT * REPLACE (
    activity_date - {back:UInt16} AS activity_date,
    concat('user_', toString((toUInt64(substring(user_id, 6)) + 37 * {back:UInt16}) % {users:UInt64})) AS user_id
)
FROM (SELECT * FROM int_daily_user_activity WHERE activity_date = {day:Date32})
SETTINGS max_insert_threads = 2, max_threads = 2
"""
# In blocks of few rows: each has hundreds of viewers.
_VIDEOS = """
INSERT INTO int_daily_video_activity
WITH
    toUInt64(substring(real.video_id, 7)) AS v,
    if(
        v < {head:UInt64},
        (v + {back:UInt16}) % {head:UInt64},
        {head:UInt64} + (v - {head:UInt64} + 37 * {back:UInt16}) % ({videos:UInt64} - {head:UInt64})
    ) AS shifted
SELECT * REPLACE (
    real.activity_date - {back:UInt16} AS activity_date,
    concat('video_', toString(shifted)) AS video_id
)
FROM (SELECT * FROM int_daily_video_activity WHERE activity_date = {day:Date32}) AS real
SETTINGS max_threads = 1, max_block_size = 1024, min_insert_block_size_bytes = 200000000
"""


def insert_days_before(stores: Stores, users: int, videos: int) -> None:
    """Fill both daily tables with the `DAYS_BEFORE` days before the real one, which must be there."""
    for back in range(1, DAYS_BEFORE + 1):
        stores.command(_USERS, back=back, users=users, day=DAY.date())
        stores.command(_VIDEOS, back=back, videos=videos, head=videos // 100, day=DAY.date())
