"""Load from a process of its own: `python -m serving.bench.load JOB`, started and read by `running` and `run`."""

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from serving.bench.client import Load, fire
from serving.bench.samples import Samples
from stack.settings import PROJECT_ROOT

_JOB, _REQUESTS, _SAMPLES = "job.json", "requests.npz", "samples.npz"
GRACE_S = 60


class ClientFailedError(Exception):
    """The client's process ended with an error, or not in time."""


class RunningLoad:
    """A load under way."""

    def __init__(self, folder: Path, load: Load) -> None:
        self._folder = folder
        self._load = load
        command = [sys.executable, "-m", "serving.bench.load", str(folder)]
        self._process = subprocess.Popen(command, cwd=PROJECT_ROOT, stderr=subprocess.PIPE)

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def samples(self) -> Samples:
        """Wait for the end; raises `ClientFailedError`."""
        try:
            _, said = self._process.communicate(timeout=self._load.seconds + self._load.timeout_s + GRACE_S)
        except subprocess.TimeoutExpired as error:
            raise ClientFailedError("the client did not end") from error
        if self._process.returncode:
            raise ClientFailedError(said.decode(errors="replace")[-2000:])
        return Samples.load(self._folder / _SAMPLES)

    def end(self) -> None:
        """Send nothing more; `samples` then has what was sent."""
        self._process.terminate()

    def stop(self) -> None:
        if not self.is_over:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(load: Load, requests: Sequence[bytes]) -> Iterator[RunningLoad]:
    """The load goes on while the body does what is to be measured; ended with it."""
    with tempfile.TemporaryDirectory(prefix="reelgraph-load-") as scratch:
        folder = Path(scratch)
        (folder / _JOB).write_text(json.dumps(asdict(load)))
        ends = np.cumsum([len(request) for request in requests])
        np.savez(folder / _REQUESTS, ends=ends, bytes=np.frombuffer(b"".join(requests), np.uint8))
        started = RunningLoad(folder, load)
        try:
            yield started
        finally:
            started.stop()


def run(load: Load, requests: Sequence[bytes]) -> Samples:
    """The whole load."""
    with running(load, requests) as started:
        return started.samples()


def main(folder: Path) -> None:
    import uvloop

    load = Load(**json.loads((folder / _JOB).read_text()))
    with np.load(folder / _REQUESTS) as arrays:
        whole, ends = arrays["bytes"].tobytes(), arrays["ends"].tolist()
    requests = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    gc.freeze()
    gc.disable()  # a collection here would look like a pause there
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        samples = runner.run(fire(load, requests))
    samples.save(folder / _SAMPLES)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
