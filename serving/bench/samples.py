"""What a load saw: a row a request, and the figures that follow from the rows."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Flags of an answer.
MIXED, DEGRADED, CACHED, EMPTY = 1, 2, 4, 8

_OK = 200
_FAILED = 500


@dataclass
class Samples:
    """n requests, in the order of their times (seconds of the machine's monotonic clock).

    `due` is when a request had to go out, `sent` when it did, `done` when its answer was there or it was given up.
    `status` 0 is no answer. `stamp` names a place of `stamps`: what the answer said it was made with.
    """

    due: NDArray[np.float64]
    sent: NDArray[np.float64]
    done: NDArray[np.float64]
    status: NDArray[np.int16]
    flags: NDArray[np.uint8]
    stamp: NDArray[np.int32]
    stamps: list[str] = field(default_factory=list)
    client_cpu_s: float = 0.0

    @classmethod
    def empty(cls, n: int) -> Self:
        due, sent, done = np.full((3, n), np.nan)
        return cls(due, sent, done, np.zeros(n, np.int16), np.zeros(n, np.uint8), np.zeros(n, np.int32))

    def __len__(self) -> int:
        return len(self.due)

    def save(self, path: Path) -> None:
        arrays: dict[str, Any] = {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        with np.load(path, allow_pickle=False) as arrays:
            columns: dict[str, Any] = {item.name: arrays[item.name] for item in fields(cls)}
        columns["stamps"] = [str(stamp) for stamp in columns["stamps"]]
        columns["client_cpu_s"] = float(columns["client_cpu_s"])
        return cls(**columns)

    def head(self, n: int) -> "Samples":
        """The first n."""
        return replace(self.where(np.arange(len(self)) < n), client_cpu_s=self.client_cpu_s)

    def where(self, chosen: NDArray[np.bool_]) -> "Samples":
        """Only these requests; what they cost the client is not known."""
        columns = {
            name: getattr(self, name)[chosen] for name in ("due", "sent", "done", "status", "flags", "stamp")
        }
        return Samples(**columns, stamps=self.stamps, client_cpu_s=float("nan"))

    # --- figures --------------------------------------------------------------------------------------------

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """From when a request had to go out, not from when it did: a queue in the client is the server's delay."""
        return (self.done - self.due) * 1000

    @property
    def late_ms(self) -> NDArray[np.float64]:
        """How much too late the client sent; more than a few ms at low rates is the client's fault."""
        return (self.sent - self.due) * 1000

    def percentile_ms(self, q: float) -> float:
        """The smallest latency that at least q percent of the requests did not exceed; a request that failed took
        for ever."""
        latency = np.where((self.status >= _OK) & (self.status < _FAILED), self.latency_ms, np.inf)
        return float(np.percentile(latency, q, method="inverted_cdf"))

    @property
    def failed(self) -> int:
        """Requests without an answer, or with a 5xx."""
        return int(((self.status == 0) | (self.status >= _FAILED)).sum())

    @property
    def server_errors(self) -> int:
        return int((self.status >= _FAILED).sum())

    def flagged(self, flag: int) -> int:
        return int(((self.flags & flag) > 0).sum())

    @property
    def answered_per_s(self) -> float:
        """Answers over the time from the first request's time to the last answer."""
        ok = self.status > 0
        return float(ok.sum() / (np.max(self.done) - self.due[0]))

    def summary(self) -> dict[str, Any]:
        """The figures as JSON; milliseconds."""
        codes, counts = np.unique(self.status, return_counts=True)
        return {
            "requests": len(self),
            "p50_ms": _rounded(self.percentile_ms(50)),
            "p95_ms": _rounded(self.percentile_ms(95)),
            "p99_ms": _rounded(self.percentile_ms(99)),
            "max_ms": _rounded(float(np.max(self.latency_ms))),
            "status": {str(code): int(count) for code, count in zip(codes, counts, strict=True)},
            "failed": self.failed,
            "mixed": self.flagged(MIXED),
            "degraded": self.flagged(DEGRADED),
            "cached": self.flagged(CACHED),
            "empty": self.flagged(EMPTY),
            "answered_per_s": round(self.answered_per_s, 1),
            "client_us": _rounded(self.client_cpu_s / len(self) * 1e6),
            "late_p99_ms": _rounded(_percentile(self.late_ms[np.isfinite(self.late_ms)], 99)),
        }


def _percentile(values: NDArray[np.float64], q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else float("nan")


def _rounded(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return round(value, 2) if np.isfinite(value) else None
