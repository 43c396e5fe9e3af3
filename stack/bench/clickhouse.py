"""`make bench-clickhouse`: inserts and concurrent reads over HTTP, beside clickhouse-connect's in-process backend.

1M rows of playback events go through clickhouse-connect into our server (lz4, zstd, no compression) and into the
same engine in-process (`chdb://`), in the same run; every insert is counted back. Prints a table and writes
`build/bench/clickhouse.json`; exit status 1 if rows are missing, a reader failed, or a speed is under half.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console
from rich.table import Table

from stack.settings import PROJECT_ROOT

if TYPE_CHECKING:
    import pandas as pd
    from clickhouse_connect.driver.client import Client

REQUIRED_SHARE = 0.5
READERS = 8
CREATE = """CREATE TABLE events (event_id UUID, user_id String, video_id String, session_id String,
 event_type Enum8('view_start' = 1, 'view_end' = 2, 'scroll_pass' = 3, 'like' = 4), position_index Int32,
 impression_timestamp DateTime64(3, 'UTC'), scroll_speed_ms Float32, playback_position_ms Nullable(Int32),
 device_type Enum8('ios' = 1, 'android' = 2, 'web' = 3), geo_location String, time_of_day Int8, day_of_week Int8,
 created_at DateTime64(3, 'UTC'))
 ENGINE = MergeTree PARTITION BY toYYYYMM(impression_timestamp) ORDER BY (user_id, impression_timestamp, event_id)"""


def playback_events(rows: int) -> "pd.DataFrame":
    """`rows` events in the columns of `CREATE`; the same ones every time."""
    import uuid

    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2**63, size=(rows, 2), dtype="uint64").tolist()
    at = pd.Timestamp("2024-05-01", tz="UTC") + pd.to_timedelta(
        rng.integers(0, 86_400_000 * 20, rows), unit="ms"
    )
    users, videos = rng.integers(0, 30_000, rows), rng.integers(0, 7_500, rows)
    positions = pd.array(rng.integers(0, 60_000, rows), dtype="Int32")
    positions[rng.random(rows) < 0.2] = pd.NA
    return pd.DataFrame(
        {
            "event_id": [uuid.UUID(int=(high << 64) | low) for high, low in ids],
            "user_id": np.char.add("user_", users.astype(str)).astype(object),
            "video_id": np.char.add("video_", videos.astype(str)).astype(object),
            "session_id": np.char.add("session_", (users * 10 + videos % 10).astype(str)).astype(object),
            "event_type": rng.choice(["view_start", "view_end", "scroll_pass", "like"], rows).astype(object),
            "position_index": rng.integers(0, 100, rows, dtype="int32"),
            "impression_timestamp": at,
            "scroll_speed_ms": rng.random(rows, dtype="float32") * 1000,
            "playback_position_ms": positions,
            "device_type": rng.choice(["ios", "android", "web"], rows).astype(object),
            "geo_location": rng.choice(["Berlin, DE", "Lyon, FR", "Austin, US"], rows).astype(object),
            "time_of_day": at.hour.astype("int8"),
            "day_of_week": (at.dayofweek + 1).astype("int8"),
            "created_at": at,
        }
    )


def measure_insert(client: "Client", frame: "pd.DataFrame") -> dict[str, Any]:
    """Seconds of `insert_df` into a fresh table, and the rows that are there afterwards."""
    client.command("DROP TABLE IF EXISTS events SYNC")
    client.command(CREATE)
    started = time.perf_counter()
    client.insert_df("events", frame)
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 3), "rows": int(str(client.command("SELECT count() FROM events")))}


def in_process(rows: int, repeats: int) -> None:
    """The same inserts into the engine in this process; prints one JSON line. A process of its own, because the
    engine takes one folder per process."""
    import clickhouse_connect

    frame = playback_events(rows)
    with tempfile.TemporaryDirectory() as folder:
        client = clickhouse_connect.get_client(interface="chdb", path=f"{folder}/db")
        results = [measure_insert(client, frame) for _ in range(repeats)]
        client.close()
    print(json.dumps(min(results, key=lambda result: result["seconds"])))


def read_concurrently(new_client: Callable[[], "Client"], seconds: float) -> dict[str, Any]:
    """`READERS` clients ask for aggregates at once; counts and what failed."""
    queries = (
        "SELECT event_type, count(), uniq(user_id) FROM events GROUP BY event_type",
        "SELECT video_id, avg(playback_position_ms) FROM events GROUP BY video_id ORDER BY 2 DESC LIMIT 10",
        "SELECT * FROM events WHERE user_id = 'user_77' ORDER BY impression_timestamp",
    )
    answers, errors = [0] * READERS, []
    deadline = time.monotonic() + seconds

    def read(number: int) -> None:
        client = new_client()
        while time.monotonic() < deadline:
            try:
                client.query(queries[answers[number] % len(queries)])
                answers[number] += 1
            except Exception as error:
                errors.append(str(error))
        client.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"queries": sum(answers), "queries_per_second": round(sum(answers) / seconds, 1), "errors": errors}


class _Peak:
    """The largest resident memory of a process, sampled."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.largest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def now(self) -> int:
        return int(self._process.memory_info().rss)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.largest = max(self.largest, self.now())

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def run(rows: int, repeats: int, read_seconds: float) -> dict[str, Any]:
    """All figures; memory in bytes."""
    import clickhouse_connect

    folder = Path(tempfile.mkdtemp(prefix="bench "))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "stack.clickhouse", "--path", str(folder / "data"), "--port", str(port)]
    server = subprocess.Popen([*command, "--log-level", "WARNING"], cwd=PROJECT_ROOT)
    try:
        _wait(port, server)
        peak = _Peak(server.pid)

        def client(compress: str | bool = "lz4") -> "Client":
            return clickhouse_connect.get_client(host="127.0.0.1", port=port, compress=compress)

        figures: dict[str, Any] = {"rows": rows, "idle_memory_at_start": peak.now(), "insert": {}}
        frame = playback_events(rows)
        for name, compress in (("lz4", "lz4"), ("zstd", "zstd"), ("none", False)):
            writer = client(compress)
            results = [measure_insert(writer, frame) for _ in range(repeats)]
            figures["insert"][name] = min(results, key=lambda result: result["seconds"])
            writer.close()
        figures["readers"] = read_concurrently(client, read_seconds)
        time.sleep(4)  # it gives memory back when it has had nothing to do
        figures["idle_memory_at_end"] = peak.now()
        peak.stop()
        figures["peak_memory"] = peak.largest
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
    arguments = ["--in-process", "--rows", str(rows), "--repeats", str(repeats)]
    baseline = subprocess.run(
        [sys.executable, "-m", "stack.bench.clickhouse", *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        check=True,
    )
    figures["in_process"] = json.loads(baseline.stdout.splitlines()[-1])
    for result in figures["insert"].values():
        result["share_of_in_process"] = round(figures["in_process"]["seconds"] / result["seconds"], 2)
    return figures


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    import httpx

    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError("the server did not start")
        try:
            httpx.get(f"http://127.0.0.1:{port}/ping")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not get ready")


def verdict(figures: dict[str, Any]) -> list[str]:
    """What falls short; empty if nothing does."""
    wrong = [f"a reader failed: {error}" for error in figures["readers"]["errors"][:3]]
    for name, result in figures["insert"].items():
        if result["rows"] != figures["rows"]:
            wrong.append(f"{name}: {result['rows']:,} rows are there")
        if result["share_of_in_process"] < REQUIRED_SHARE:
            wrong.append(f"{name}: {result['share_of_in_process']:.0%} of the in-process speed")
    return wrong


def show(figures: dict[str, Any], console: Console) -> None:
    """The table."""
    table = Table(title=f"Insert of {figures['rows']:,} playback events through clickhouse-connect")
    for column in ("way", "seconds", "rows/s", "rows there", "of in-process"):
        table.add_column(column, justify="left" if column == "way" else "right")
    ways = {f"HTTP, {name}": result for name, result in figures["insert"].items()}
    for name, result in {**ways, "in-process chDB": figures["in_process"]}.items():
        rate = figures["rows"] / result["seconds"]
        share = result.get("share_of_in_process", 1.0)
        table.add_row(name, f"{result['seconds']:.2f}", f"{rate:,.0f}", f"{result['rows']:,}", f"{share:.0%}")
    console.print(table)
    readers = figures["readers"]
    console.print(
        f"{READERS} readers at once: {readers['queries']} queries ({readers['queries_per_second']}/s), "
        f"{len(readers['errors'])} errors"
    )
    memory = {
        name: figures[name] / 2**20 for name in ("idle_memory_at_start", "peak_memory", "idle_memory_at_end")
    }
    console.print(
        "memory: " + ", ".join(f"{name.replace('_', ' ')} {mib:,.0f} MiB" for name, mib in memory.items())
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stack.bench.clickhouse", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many (default: %(default)s)")
    parser.add_argument("--read-seconds", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=PROJECT_ROOT / "build" / "bench" / "clickhouse.json")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.in_process:
        in_process(options.rows, options.repeats)
        return 0
    figures = run(options.rows, options.repeats, options.read_seconds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=2) + "\n")
    console = Console()
    show(figures, console)
    wrong = verdict(figures)
    for line in wrong:
        console.print(f"[red]{line}[/red]")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
