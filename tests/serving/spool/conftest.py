"""A store that can be down or unwilling, and spools that ship to it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving.spool.spool import SegmentDeclinedError, SegmentRefusedError, ShipReport, Spool


class Store:
    """Where segments are shipped to: keeps them by id, down or unwilling when told."""

    def __init__(self) -> None:
        self.segments: dict[str, bytes] = {}
        self.attempts = 0
        self.down = False
        self.refuses = self.declines = b"\n\n"
        self.kept: bytes | None = None

    def ship(self, content: bytes, segment_id: str) -> ShipReport | None:
        self.attempts += 1
        if self.down:
            raise ConnectionError("down")
        if self.refuses in content:
            raise SegmentRefusedError("not for us", self.kept)
        if self.declines in content:
            raise SegmentDeclinedError("not now")
        self.segments[segment_id] = content
        return None

    @property
    def lines(self) -> list[bytes]:
        return [line for _, content in sorted(self.segments.items()) for line in content.splitlines()]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make(tmp_path: Path, store: Store) -> Callable[..., Spool]:
    def build(**options: object) -> Spool:
        options = {"registry": CollectorRegistry(), "name": "events", "max_segment_age_s": 0.05, **options}
        spool = Spool(tmp_path / "spool", store.ship, **options)  # type: ignore[arg-type]
        spool.start()
        return spool

    return build


def files(tmp_path: Path, suffix: str) -> list[Path]:
    return sorted((tmp_path / "spool").rglob(f"*{suffix}"))
