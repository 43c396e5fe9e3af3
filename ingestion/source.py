"""What every source of demo data offers: users, videos and events, checked before anything is written."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

# Sources that give the same rows whenever asked, so that removing their rows loses nothing.
RECREATABLE = frozenset({"simulator", "kuairand"})


class Source(Protocol):
    """A data set that can be made again at will: what is loaded from it may be replaced without loss."""

    name: str

    def fingerprint(self) -> str:
        """A hash of all that decides the content: equal fingerprints give equal rows."""
        ...

    def validate(self) -> None:
        """Read and judge everything; raises `errors.SourceError`. Nothing may be written before this has passed."""
        ...

    @property
    def rows_read(self) -> int:
        """Rows of the raw log behind `events`, repeated ones included."""
        ...

    def users(self) -> "pa.Table":
        """One row per user, in the columns of `contracts.USERS`."""
        ...

    def videos(self) -> "pa.Table":
        """One row per video, in the columns of `contracts.VIDEOS`."""
        ...

    def events(self) -> "Iterator[pa.RecordBatch]":
        """Every event, in batches of at most 100,000 rows in the columns of `contracts.EVENTS`."""
        ...

    def notes(self) -> dict[str, int]:
        """What the mapping counted that the reader of a report should know, by name."""
        ...
