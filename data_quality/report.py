"""What a validation found: pass or fail, each failed statement with what was seen instead, and the counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning"]
_RANK = {"error": 0, "warning": 1}


@dataclass(frozen=True)
class Failure:
    """One statement that does not hold. `unexpected` is a sample of the values, as text, at most five."""

    expectation: str
    column: str
    severity: Severity
    observed: str
    unexpected: tuple[str, ...]

    @property
    def order(self) -> tuple[int, str, str]:
        return _RANK[self.severity], self.expectation, self.column


@dataclass(frozen=True)
class ValidationReport:
    """The outcome of one suite on one table. A warning shows; only an error makes it a failure."""

    success: bool
    evaluated: int
    failures: tuple[Failure, ...]  # errors first, then by name: the same data gives the same report
    statistics: dict[str, float]
    checked_on: str = ""
    """Which rows were looked at, as a phrase: all, or a sample and its rate."""
    data_docs: Path | None = None
    """The page of this validation, if one was written."""

    @classmethod
    def of(
        cls,
        evaluated: int,
        failures: Sequence[Failure],
        statistics: dict[str, float],
        checked_on: str = "",
        data_docs: Path | None = None,
    ) -> "ValidationReport":
        return cls(
            success=all(failure.severity != "error" for failure in failures),
            evaluated=evaluated,
            failures=tuple(sorted(failures, key=lambda failure: failure.order)),
            statistics=statistics,
            checked_on=checked_on,
            data_docs=data_docs,
        )

    @property
    def errors(self) -> tuple[Failure, ...]:
        return tuple(failure for failure in self.failures if failure.severity == "error")

    @property
    def warnings(self) -> tuple[Failure, ...]:
        return tuple(failure for failure in self.failures if failure.severity == "warning")

    def to_markdown(self) -> str:
        """A table for the operator; one sentence when all is well."""
        if not self.failures:
            return f"All {self.evaluated} expectations hold."
        lines = ["| severity | expectation | column | observed | sample |", "|---|---|---|---|---|"]
        lines += [
            "| "
            + " | ".join(_cell(text) for text in (f.severity, f.expectation, f.column, f.observed, sample))
            + " |"
            for f in self.failures
            for sample in [", ".join(f.unexpected)]
        ]
        return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
