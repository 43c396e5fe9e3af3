"""What can go wrong with a source or a load, named after the cause."""

from pathlib import Path


class IngestionError(Exception):
    """Base of what a person can act on: the message is one clear line."""


class SourceError(IngestionError):
    """A source cannot be read; the message names the file and, where known, line, column and value."""

    def __init__(
        self,
        path: Path,
        problem: str,
        *,
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
    ) -> None:
        self.path, self.problem, self.line, self.column, self.value = path, problem, line, column, value
        place = str(path)
        if line is not None:
            place += f", line {line}"
        if column is not None:
            place += f", column {column}"
        got = "" if value is None else f", got {value[:100]!r}"
        super().__init__(f"{place}: {problem}{got}")


class StoreUnreachableError(IngestionError):
    """A store does not answer, or not as that store."""


class StoreRefusedError(IngestionError):
    """A store answered with an error: a missing right, a full disk, a statement it cannot run."""


class NamedCollectionDeniedError(StoreRefusedError):
    """The ClickHouse user may not define the named collection, and nobody else has."""


class ForeignDataError(IngestionError):
    """The stores hold data that no demo source can make again, so nothing may be replaced."""


class LedgerImbalanceError(IngestionError):
    """Events were lost or invented on the way: sent != stored + duplicate + quarantined."""
