"""The spool on a real disk: what it promised survives kills, full disks and stores that are down."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from serving.spool.spool import (
    SegmentDeclinedError,
    SegmentRefusedError,
    ShipReport,
    Spool,
    SpoolBrokenError,
    SpoolFullError,
)
from serving.spool.spool import segments as spool_segments
from serving.spool.spool import shipper as spool_shipper
from stack.settings import PROJECT_ROOT

from ..conftest import wait_for


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


def test_lines_are_shipped_in_their_order_and_the_folder_is_empty_after_a_clean_stop(make, store, tmp_path):
    async def run() -> None:
        spool = make()
        for number in range(50):
            spool.append(b"a%d" % number)
        await spool.durable(b"last")
        await spool.stop(5)
        assert spool.waiting() == (0, 0, 0.0)

    asyncio.run(run())
    assert store.lines == [*(b"a%d" % number for number in range(50)), b"last"]
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [".lock"]


def test_a_line_that_is_durable_is_in_a_file_already(make, store, tmp_path):
    store.down = True

    async def run() -> None:
        spool = make(max_segment_age_s=60)
        await asyncio.gather(*(spool.durable(b"line %d" % number) for number in range(100)))
        [segment] = files(tmp_path, ".open")
        assert sorted(segment.read_bytes().splitlines()) == sorted(b"line %d" % n for n in range(100))
        assert spool.waiting()[0] == 100
        await spool.stop(0.1)

    asyncio.run(run())
    assert len(files(tmp_path, ".jsonl")) == 1  # kept for the next start


def test_many_who_wait_share_few_syncs(make, monkeypatch):
    syncs = []
    real = os.fdatasync
    monkeypatch.setattr(
        spool_segments.os, "fdatasync", lambda file: (syncs.append(file), time.sleep(0.02), real(file))
    )

    async def run() -> None:
        spool = make(max_segment_age_s=60)
        await asyncio.gather(*(spool.durable(b"%d" % number) for number in range(500)))
        assert len(syncs) <= 3
        await spool.stop(5)

    asyncio.run(run())


def test_a_store_that_is_down_loses_nothing_and_is_said_once(make, store, caplog):
    store.down = True
    registry = CollectorRegistry()

    def failing() -> float | None:
        return registry.get_sample_value("reelgraph_spool_failing", {"spool": "events"})

    async def run() -> None:
        spool = make(registry=registry)
        await spool.durable(b"one")
        await asyncio.to_thread(wait_for, lambda: store.attempts >= 3, "three attempts")
        assert spool.waiting()[0] == 1
        assert spool.waiting()[2] > 0.2
        assert failing() == 1
        store.down = False
        await asyncio.to_thread(wait_for, lambda: store.lines == [b"one"], "the line", 15)
        await spool.stop(5)
        assert failing() == 0

    asyncio.run(run())
    assert caplog.text.count("shipping them failed") == 1


def test_what_a_stop_could_not_ship_the_next_start_does_under_the_same_id(make, store, tmp_path):
    store.down = True

    async def first() -> None:
        spool = make()
        spool.append(b"kept")
        await spool.stop(0.3)

    asyncio.run(first())
    [left] = files(tmp_path, ".jsonl")
    store.down = False

    async def second() -> None:
        spool = make()
        await asyncio.to_thread(wait_for, lambda: bool(store.segments), "the segment")
        await spool.stop(5)

    asyncio.run(second())
    assert store.segments == {left.stem: b"kept\n"}


def test_a_refused_segment_is_set_aside_and_does_not_block_the_next(make, store, tmp_path):
    store.refuses = b"poison"
    registry = CollectorRegistry()

    async def run() -> None:
        spool = make(registry=registry)
        await spool.durable(b"poison")
        await asyncio.to_thread(wait_for, lambda: store.attempts >= 1, "the refusal")
        await spool.durable(b"good")
        await spool.stop(5)

    asyncio.run(run())
    assert store.lines == [b"good"]
    [aside] = (tmp_path / "spool" / "refused").iterdir()
    assert aside.read_bytes() == b"poison\n"
    assert registry.get_sample_value("reelgraph_spool_refused_total", {"spool": "events"}) == 1


def test_segments_end_at_their_size(make, store):
    async def run() -> None:
        spool = make(max_segment_bytes=100, max_segment_age_s=60)
        for number in range(4):
            await spool.durable(b"%060d" % number)
        await spool.stop(5)

    asyncio.run(run())
    assert [len(content) for _, content in sorted(store.segments.items())] == [122, 122]


def test_of_a_refused_segment_only_what_may_be_kept_is_set_aside(make, store, tmp_path):
    store.refuses, store.kept = b"poison", b"of somebody\n"

    async def run() -> None:
        spool = make()
        await spool.all_durable([b"poison of an erased user", b"of somebody"])
        await spool.stop(5)

    asyncio.run(run())
    assert [p.read_bytes() for p in (tmp_path / "spool").rglob("*.jsonl")] == [b"of somebody\n"]


def test_a_segment_that_the_store_never_takes_moves_behind_the_others(make, store, tmp_path, monkeypatch):
    monkeypatch.setattr(spool_shipper, "BACK_OFF_S", (0.01, 0.02))
    store.declines = b"poison"

    async def run() -> None:
        spool = make()
        await spool.durable(b"poison")
        await asyncio.to_thread(wait_for, lambda: store.attempts >= 1, "the first attempt")
        await spool.durable(b"good")
        await asyncio.to_thread(wait_for, lambda: store.lines == [b"good"], "the good one")
        assert store.attempts > spool_shipper.PATIENCE
        assert spool.waiting()[0] == 1
        store.declines = b"\n\n"
        await asyncio.to_thread(wait_for, lambda: spool.waiting()[0] == 0, "the other")
        await spool.stop(5)

    asyncio.run(run())
    assert sorted(store.lines) == [b"good", b"poison"]


def test_while_the_store_is_away_the_order_stays(make, store, monkeypatch):
    monkeypatch.setattr(spool_shipper, "BACK_OFF_S", (0.01, 0.02))
    store.down = True
    order: list[bytes] = []

    async def run() -> None:
        spool = make()
        for line in (b"1", b"2", b"3"):
            await spool.durable(line)
            seen = store.attempts
            await asyncio.to_thread(wait_for, lambda seen=seen: store.attempts > seen + 5, "attempts")
        store.down = False
        await asyncio.to_thread(wait_for, lambda: spool.waiting()[0] == 0, "all")
        order.extend(content.strip() for content in store.segments.values())
        await spool.stop(5)

    asyncio.run(run())
    assert order == [b"1", b"2", b"3"]


def test_a_file_that_somebody_removed_is_counted_lost_and_blocks_nothing(make, store, tmp_path):
    store.down = True
    registry = CollectorRegistry()

    async def run() -> None:
        spool = make(registry=registry)
        await spool.all_durable([b"one", b"two"])
        await asyncio.to_thread(wait_for, lambda: store.attempts > 0, "an attempt")
        await spool.durable(b"three")
        await asyncio.to_thread(wait_for, lambda: len(files(tmp_path, ".jsonl")) == 2, "two segments")
        files(tmp_path, ".jsonl")[0].unlink()
        store.down = False
        await asyncio.to_thread(wait_for, lambda: spool.waiting()[0] == 0, "an empty spool", 15)
        await spool.stop(5)

    asyncio.run(run())
    assert store.lines == [b"three"]
    assert registry.get_sample_value("reelgraph_spool_lost_total", {"spool": "events"}) == 2


def test_what_cannot_be_taken_over_keeps_nobody_from_writing(make, store, tmp_path, monkeypatch):
    """A stray folder, and of a dead process a file that cannot be read and one that is no file at all."""
    monkeypatch.setattr(spool_shipper, "BACK_OFF_S", (0.01, 0.02))
    spool_folder = tmp_path / "spool"
    (spool_folder / "backup").mkdir(parents=True)
    (spool_folder / "backup" / "0000-2-dead-00000001.jsonl").write_bytes(b"a copy\n")
    dead = spool_folder / "0000-1-dead"
    dead.mkdir()
    (dead / "0000-1-dead-00000001.open").mkdir()
    (dead / "0000-1-dead-00000002.jsonl").mkdir()  # reading a folder fails, whoever runs the test
    (dead / "0000-1-dead-00000003.jsonl").write_bytes(b"good\n")
    (dead / "note.txt").write_text("of a person")

    async def run() -> None:
        spool = make()
        await spool.durable(b"new")
        await asyncio.to_thread(wait_for, lambda: len(store.segments) == 2, "two segments")
        await asyncio.to_thread(wait_for, lambda: (spool_folder / "refused").exists(), "the bad one aside")
        await spool.stop(5)

    asyncio.run(run())
    assert sorted(store.lines) == [b"good", b"new"]
    assert [path.name for path in (spool_folder / "refused").iterdir()] == ["0000-1-dead-00000002.jsonl"]
    assert sorted(path.name for path in dead.iterdir()) == ["0000-1-dead-00000001.open", "lock", "note.txt"]
    assert [path.name for path in (spool_folder / "backup").iterdir()] == ["0000-2-dead-00000001.jsonl"]


def test_half_a_line_of_a_killed_process_is_dropped_and_the_whole_ones_are_shipped(
    make, store, tmp_path, caplog
):
    dead = tmp_path / "spool" / "0000-1-dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    (dead / "0000-1-dead-00000001.open").write_bytes(b"whole\nhal")
    (dead / "0000-1-dead-00000002.open").write_bytes(b"only half")
    registry = CollectorRegistry()

    async def run() -> None:
        spool = make(registry=registry)
        await asyncio.to_thread(wait_for, lambda: bool(store.segments), "the segment")
        await spool.stop(5)

    asyncio.run(run())
    assert store.segments == {"0000-1-dead-00000001": b"whole\n"}
    assert not any(b"hal" in path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file())
    assert registry.get_sample_value("reelgraph_spool_torn_total", {"spool": "events"}) == 2
    assert not dead.exists()


def test_the_segments_of_a_process_that_lives_are_left_alone(make, store, tmp_path):
    store.down = True

    async def run() -> None:
        one = make()
        await one.durable(b"one")
        two = make()
        await two.durable(b"two")
        await asyncio.to_thread(wait_for, lambda: len(files(tmp_path, ".jsonl")) == 2, "two segments")
        assert len({path.parent for path in files(tmp_path, ".jsonl")}) == 2
        store.down = False
        await one.stop(5)
        await two.stop(5)

    asyncio.run(run())
    assert sorted(store.lines) == [b"one", b"two"]


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, SpoolFullError), (errno.EIO, SpoolBrokenError)])
def test_a_disk_that_takes_nothing_is_told_to_who_waits_and_lines_nobody_waits_for_stay(
    make, store, monkeypatch, number, error
):
    real = os.write
    failing = True

    def write(file: int, content: bytes) -> int:
        if failing:
            real(file, bytes(content)[:3])  # half of it arrives
            raise OSError(number, os.strerror(number))
        return real(file, content)

    monkeypatch.setattr(spool_segments.os, "write", write)

    async def run() -> None:
        nonlocal failing
        spool = make()
        spool.append(b"decision")
        with pytest.raises(error):
            await spool.durable(b"event")
        failing = False
        await spool.durable(b"again")
        await spool.stop(5)

    asyncio.run(run())
    assert sorted(store.lines) == [b"again", b"decision"]  # no half line, nothing that was refused


def test_a_folder_that_cannot_be_made_breaks_no_caller(tmp_path, store):
    (tmp_path / "file").write_text("in the way")
    registry = CollectorRegistry()
    spool = Spool(tmp_path / "file" / "spool", store.ship, registry=registry, name="events")

    async def run() -> None:
        spool.start()
        spool.append(b"one")
        with pytest.raises(SpoolBrokenError):
            await spool.durable(b"two")
        await spool.stop(1)

    asyncio.run(run())
    assert registry.get_sample_value("reelgraph_spool_lost_total", {"spool": "events"}) == 1


def test_a_spool_that_holds_all_it_may_says_full_and_takes_more_once_shipped(make, store):
    store.down = True

    async def run() -> None:
        spool = make(max_bytes=100)
        await spool.durable(b"x" * 90)
        with pytest.raises(SpoolFullError):
            await spool.durable(b"y" * 20)
        store.down = False
        await asyncio.to_thread(wait_for, lambda: spool.waiting()[0] == 0, "room", 15)
        await spool.durable(b"z" * 20)
        await spool.stop(5)

    asyncio.run(run())
    assert store.lines == [b"x" * 90, b"z" * 20]


def test_after_a_stop_lines_are_refused_or_counted_lost(make, store):
    registry = CollectorRegistry()

    async def run() -> None:
        spool = make(registry=registry)
        await spool.stop(5)
        spool.append(b"late")
        with pytest.raises(SpoolBrokenError):
            await spool.durable(b"late")

    asyncio.run(run())
    assert registry.get_sample_value("reelgraph_spool_lost_total", {"spool": "events"}) == 1


def test_a_line_break_in_a_line_is_a_mistake_of_the_caller(make):
    async def run() -> None:
        spool = make()
        with pytest.raises(ValueError, match="line break"):
            spool.append(b"a\nb")
        with pytest.raises(ValueError, match="line break"):
            await spool.durable(b"a\nb")
        await spool.stop(5)

    asyncio.run(run())


_WRITER = """
import asyncio, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from serving.spool.spool import Spool

def ship(content, segment):
    raise ConnectionError

async def run():
    spool = Spool(Path(sys.argv[1]), ship, registry=CollectorRegistry(), name="events", max_segment_age_s=0.05)
    spool.start()
    async def write(worker):
        number = 0
        while True:
            line = f"{worker}-{number}"
            await spool.durable(line.encode())
            print(line, flush=True)
            number += 1
    await asyncio.gather(*(write(worker) for worker in range(8)))

asyncio.run(run())
"""


@pytest.mark.parametrize("lives_s", [0.05, 0.2, 0.6])
def test_a_kill_loses_nothing_that_was_promised(make, store, tmp_path, lives_s):
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "spool")], stdout=subprocess.PIPE, cwd=PROJECT_ROOT
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(lives_s)
    process.send_signal(signal.SIGKILL)
    printed = [first, *process.stdout.read().splitlines(keepends=True)]
    promised = [line.strip() for line in printed if line.endswith(b"\n")]
    process.wait()

    async def run() -> None:
        spool = make()
        await asyncio.to_thread(wait_for, lambda: set(promised) <= set(store.lines), "what was promised")
        await spool.stop(5)

    asyncio.run(run())
    assert len(store.lines) == len(set(store.lines))  # each once


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"."))),
            st.tuples(st.just("durable"), st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"."))),
            st.tuples(st.just("restart"), st.just(b"")),
            st.tuples(st.just("down"), st.just(b"")),
            st.tuples(st.just("up"), st.just(b"")),
        ),
        max_size=30,
    )
)
def test_whatever_happens_every_line_is_shipped_once(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("spool")
    store, sent = Store(), []

    def start() -> Spool:
        spool = Spool(
            folder,
            store.ship,
            registry=CollectorRegistry(),
            name="x",
            max_segment_bytes=64,
            max_segment_age_s=0.01,
        )
        spool.start()
        return spool

    async def run() -> None:
        spool = start()
        for number, (step, line) in enumerate(steps):
            if step == "restart":
                await spool.stop(0.01)
                spool = start()
            elif step in ("down", "up"):
                store.down = step == "down"
            else:
                sent.append(b"%d " % number + line)
                if step == "append":
                    spool.append(sent[-1])
                else:
                    await spool.durable(sent[-1])
        store.down = False
        await spool.stop(0.01)
        spool = start()
        await asyncio.to_thread(wait_for, lambda: len(store.lines_raw()) >= len(sent), "all lines", 10)
        await spool.stop(5)

    store.lines_raw = (
        lambda: [  # type: ignore[attr-defined]
            line for content in list(store.segments.values()) for line in content.split(b"\n")[:-1]
        ]
    )
    before = threading.active_count()
    asyncio.run(run())
    assert sorted(store.lines_raw()) == sorted(sent)  # type: ignore[attr-defined]
    wait_for(lambda: threading.active_count() <= before + 1, "the threads to end", 5)
