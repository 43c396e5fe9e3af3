"""A real MLflow server on a port of its own, small models with known scores, bundles made of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from ml.factors import FactorModel
from serving import bento
from serving.bundle import BundleRecord, ModelToPack, pack, read_record
from stack.settings import Settings, telemetry_off
from tests.conftest import free_ports


def free_port() -> int:
    return free_ports(1)[0]


def wait_for(probe: Callable[[], bool], what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if probe():
            return
        time.sleep(0.05)
    raise TimeoutError(what)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def stop(process: subprocess.Popen, grace: float = 15) -> None:
    """Stop a process and whatever it started (it leads a session of its own)."""
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
                *("--workers", "1", "--backend-store-uri", f"sqlite:///{home}/mlflow.db"),
                *("--artifacts-destination", str(home / "files")),
            ],
            env={**os.environ, **telemetry_off(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            cwd=home,
            start_new_session=True,
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{uri}/health"), f"MLflow: {(home / 'server.log').read_text()}")
        yield uri
    finally:
        stop(server)


def tiny_model(kind: str = "svd", *, users: tuple[str, ...] = ("ann", "bob"), videos: int = 6) -> FactorModel:
    """Scores by hand: ann likes low-numbered videos, bob high-numbered; popularity falls with the number."""
    video_ids = np.array([f"v{i}" for i in range(videos)])
    position = np.linspace(1, -1, videos, dtype=np.float32)[:, None]
    flat = kind == "popularity"
    taste = np.array([[1.0] if i % 2 == 0 else [-1.0] for i in range(len(users))], dtype=np.float32)
    order = np.argsort(users)
    return FactorModel(
        kind=kind,
        user_ids=np.array(users)[order],
        video_ids=video_ids,
        user_factors=np.zeros((len(users), 1), np.float32) if flat else taste[order],
        video_factors=np.zeros((videos, 1), np.float32) if flat else position,
        user_bias=np.zeros(len(users), np.float32),
        video_bias=np.arange(videos, 0, -1).astype(np.float32) / videos
        if flat
        else np.zeros(videos, np.float32),
        offset=0.0,
        info={"made": "by hand"},
    )


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """Settings of an empty home of its own; no server behind any port."""
    ports = {"redis_port": free_port(), "endpoint_port": free_port()}
    return Settings(_env_file=None, home=tmp_path / "home", development=True, **ports)


def tiny_videos(videos: int = 6) -> pa.Table:
    """v0, v1 are dogs, v2, v3 cats, the rest unknown; one minute longer each; v0 and v2 share a tag, v0 and v3 two."""
    tags = [["fun", "pets"], ["dogs"], ["fun"], ["fun", "pets", "fun"]] + [[]] * (videos - 4)
    return pa.table(
        {
            "video_id": [f"v{i}" for i in range(videos)],
            "creator_id": [f"c{i % 2}" for i in range(videos)],
            "title": [f"Title {i}" for i in range(videos)],
            "description": ["", None, *["text"] * (videos - 2)],
            "category": ["dogs", "dogs", "cats", "cats", *[""] * (videos - 4)],
            "tags": tags,
            "duration_ms": [60_000 * (i + 1) for i in range(videos - 1)] + [None],
            "thumbnail_url": [f"/thumbnails/{i}.jpg" for i in range(videos)],
        }
    )


def tiny_pack(
    folder: Path,
    *,
    champion: str = "svd",
    kinds: tuple[str, ...] = ("svd", "two-tower", "popularity"),
    watched: dict[str, list[str]] | None = None,
    videos: int = 6,
    version: int = 1,
    users: tuple[str, ...] = ("ann", "bob"),
) -> BundleRecord:
    """A bundle of hand-made models in `folder`."""
    models = {}
    for i, kind in enumerate(kinds):
        source = folder.parent / f"{folder.name}-{kind}"
        tiny_model(kind, videos=videos, users=users).save(source)
        models[kind] = ModelToPack(
            source, None if kind == "popularity" else version + i, f"run-{kind}", {"ndcg": 0.5}
        )
    pairs = [(u, v) for u, seen in (watched or {"ann": ["v0"]}).items() for v in seen]
    return pack(
        folder,
        champion=champion,
        models=models,
        videos=tiny_videos(videos),
        watched=pa.table({"user_id": [u for u, _ in pairs], "video_id": [v for _, v in pairs]}),
        training_set={"version": "abc.dir", "window_days": 90, "rows": 10},
        dagster_run_id="dagster-1",
    )


def shelve(settings: Settings, packed: Path) -> str:
    """Put a bundle where its Bento would be, without the seconds a build takes; returns its tag."""
    tag = f"reelgraph:{read_record(packed).bundle_id}"
    shutil.copytree(packed, bento.bundle_dir(settings, tag), dirs_exist_ok=True)
    return tag


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Path]:
    """Pack a tiny bundle under a name: `packed("a", champion="svd", ...)`."""

    def make(name: str = "bundle", **options: Any) -> Path:
        tiny_pack(tmp_path / name, **options)
        return tmp_path / name

    return make


@pytest.fixture
def shelved(home: Settings, packed: Callable[..., Path]) -> Callable[..., str]:
    """Pack a tiny bundle and put it into the store of `home`; returns its tag."""

    def make(name: str = "bundle", **options: Any) -> str:
        return shelve(home, packed(name, **options))

    return make
