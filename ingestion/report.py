"""What a load did, for the operator."""

from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str], None]


@dataclass(frozen=True)
class LoadReport:
    """One entity's load; counts are of this load: `sent = stored + duplicate + quarantined`.

    For users and videos `stored` are rows inserted or changed, `duplicate` those that were there and equal.
    """

    entity: str
    source: str
    fingerprint: str
    rows_read: int
    sent: int
    stored: int
    duplicate: int
    quarantined: int
    table_rows: int
    """Rows in the table afterwards."""
    seconds: float
    skipped: bool = False
    """The same content was loaded before: nothing was done, the other counts are 0."""
    replaced: str | None = None
    """The demo source whose rows gave way to this one's."""
    notes: dict[str, int] = field(default_factory=dict)


def silent(_message: str) -> None:
    """The progress of one who does not want to know."""
