"""The spool on a real disk: lines in their order, shared syncs, whole segments."""

import asyncio
import os
import time

import pytest

from serving.spool import segments as spool_segments

from .conftest import files


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


def test_segments_end_at_their_size(make, store):
    async def run() -> None:
        spool = make(max_segment_bytes=100, max_segment_age_s=60)
        for number in range(4):
            await spool.durable(b"%060d" % number)
        await spool.stop(5)

    asyncio.run(run())
    assert [len(content) for _, content in sorted(store.segments.items())] == [122, 122]


def test_a_line_break_in_a_line_is_a_mistake_of_the_caller(make):
    async def run() -> None:
        spool = make()
        with pytest.raises(ValueError, match="line break"):
            spool.append(b"a\nb")
        with pytest.raises(ValueError, match="line break"):
            await spool.durable(b"a\nb")
        await spool.stop(5)

    asyncio.run(run())
