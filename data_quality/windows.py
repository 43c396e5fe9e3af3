"""Stretches of time: half-open, in UTC, to the millisecond the stores keep."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

# As dbt's macro `as_of`. The newest of all is known from the bounds of the partitions; the others are looked through
# only if that one is from the future (a device's wrong clock).
DATA_CLOCK: Final = """
    SELECT if(newest <= now64(3, 'UTC'), newest, newest_until_now) AS clock
    FROM (
        SELECT
            (SELECT max(impression_timestamp) FROM playback_events) AS newest,
            (
                SELECT max(impression_timestamp) FROM playback_events
                WHERE (SELECT max(impression_timestamp) > now64(3, 'UTC') FROM playback_events)
                    AND impression_timestamp <= now64(3, 'UTC')
            ) AS newest_until_now
    )
"""
"""The data's own "now": the newest event that is not from the future; 1970 if there is none."""


@dataclass(frozen=True)
class Window:
    """`[start, as_of)`, `days` long. Times are UTC, cut to the millisecond the stores keep."""

    as_of: datetime
    days: int

    @property
    def start(self) -> datetime:
        return self.as_of - timedelta(days=self.days)

    def milliseconds(self) -> tuple[int, int]:
        return epoch_ms(self.start), epoch_ms(self.as_of)

    def __str__(self) -> str:
        return f"[{iso_ms(self.start)}, {iso_ms(self.as_of)})"


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since 1970, exactly (`timestamp()` goes through a float). Naive times are refused."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} names no time zone")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def from_epoch_ms(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def iso_ms(moment: datetime) -> str:
    return from_epoch_ms(epoch_ms(moment)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
