"""What is measured, and what it must not exceed (issue 3; 2 cores)."""

from dataclasses import dataclass

from orchestration.bench.data.generate import EVENTS_PER_PLAY, PLAYS_PER_USER

FULL = 100_000_000
SIZES = (10_000_000, 20_000_000, 50_000_000, FULL)
QUICK = 1_000_000
MEMORY_BYTES = 8_000_000_000
"""What the embedded ClickHouse may use."""

TARGETS: dict[str, float] = {
    "sessions_s": 150,
    "sessions_peak_gb": 8,
    "increment_s": 5,
    "daily_step_s": 120,
    "bytes_per_event": 40,
    "training_s": 300,
    "training_peak_gb": 10,
}
"""Upper bounds, of the figures of the same names."""


@dataclass(frozen=True)
class Plan:
    """Sizes in events; the increment in sessions."""

    sizes: tuple[int, ...]
    videos: int
    new_sessions: int
    continued_sessions: int

    @property
    def late_sessions(self) -> int:
        return self.new_sessions + self.continued_sessions

    @property
    def events(self) -> int:
        return self.sizes[-1]

    @property
    def users(self) -> int:
        """Of the largest size: everybody watches 20 videos a day."""
        return users_of(self.events)

    @property
    def disk_bytes(self) -> int:
        """Room that it takes at most: 300 bytes an event, for its copies in tables and while parts merge."""
        return 1_000_000_000 + 300 * self.events


def users_of(events: int) -> int:
    return events // (PLAYS_PER_USER * EVENTS_PER_PLAY)


def plan_of(events: int) -> Plan:
    """All sizes up to `events`, and `events` itself.

    The increments are 5 minutes of the full platform, or a tenth of the smallest size where that is less.
    """
    sizes = (*(size for size in SIZES if size < events), events)
    sessions = min(70_000, sizes[0] // EVENTS_PER_PLAY // 10)
    continued = sessions // 10
    return Plan(sizes, min(100_000, users_of(events) * 10), sessions - continued, continued)
