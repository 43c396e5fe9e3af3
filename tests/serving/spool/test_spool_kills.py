"""What a spool promised survives kills and restarts."""

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from serving.spool.spool import Spool
from stack.settings import PROJECT_ROOT

from ..conftest import wait_for
from .conftest import Store, files


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
