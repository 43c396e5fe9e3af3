"""Stores that are down or refuse, disks that are full, files that vanish: nothing is lost, nothing blocks."""

import asyncio
import errno
import os

import pytest
from prometheus_client import CollectorRegistry

from serving.spool import segments as spool_segments
from serving.spool import shipper as spool_shipper
from serving.spool.spool import Spool, SpoolBrokenError, SpoolFullError

from ..conftest import wait_for
from .conftest import files


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
