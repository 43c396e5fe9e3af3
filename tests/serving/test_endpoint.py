"""The endpoint as it runs: `bentoml serve` in a process of its own, real Bentos, real requests."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from serving import bento, bundle
from serving.errors import BuildFailedError
from stack.settings import PROJECT_ROOT, Settings, child_environment

from .conftest import answers, free_port, shelve, stop, tiny_pack, wait_for

FEED = "/api/v1/recommendations/feed"


@contextmanager
def endpoint(
    settings: Settings, target: str = bento.SERVICE, cwd: Path = PROJECT_ROOT
) -> Iterator[subprocess.Popen]:
    log = settings.home / "endpoint.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    address = ("--host", "127.0.0.1", "--port", str(settings.endpoint_port), "--working-dir", str(cwd))
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", target, *address],
            cwd=cwd,
            env=child_environment(settings),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        try:
            wait_for(lambda: answers(f"{settings.endpoint_url}/health"), "the endpoint")
        except TimeoutError:
            pytest.fail(log.read_text()[-4000:])
        yield process
    finally:
        if process.poll() is None:
            stop(process)


def ready(settings: Settings) -> bool:
    return answers(f"{settings.endpoint_url}/health/ready")


def bundle_in_service(settings: Settings) -> str:
    return httpx.get(f"{settings.endpoint_url}/health/ready").json()["bundle"]


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, redis: Settings
) -> Iterator[tuple[Settings, list[str]]]:
    """An endpoint that started with nothing, then got the first of two bundles."""
    folder = tmp_path_factory.mktemp("endpoint home")
    changes = {"home": folder / "home", "endpoint_port": free_port(), "redis_port": redis.redis_port}
    settings = redis.model_copy(update=changes)
    tags = []
    for name, options in [
        ("a", {"champion": "svd"}),
        ("b", {"champion": "two-tower", "watched": {"bob": ["v5"]}}),
    ]:
        tiny_pack(folder / name, **options)
        tags.append(shelve(settings, folder / name))
    with endpoint(settings):
        assert httpx.get(f"{settings.endpoint_url}/health/ready").status_code == 503
        assert httpx.get(f"{settings.endpoint_url}/readyz").status_code == 503
        bento.publish(settings, tags[0])
        wait_for(lambda: ready(settings), "the first bundle", timeout=10)
        yield settings, tags


def test_a_published_bundle_is_served_without_a_restart(running):
    settings, tags = running
    for tag in (tags[1], tags[0]):
        bento.publish(settings, tag)
        wait_for(lambda tag=tag: f"reelgraph:{bundle_in_service(settings)}" == tag, "the swap", timeout=10)
    assert httpx.get(f"{settings.endpoint_url}/readyz").status_code == 200


def test_the_user_acts_and_the_next_feed_knows(running):
    settings, _ = running
    answer: dict = {}

    def feed_with_context() -> bool:  # on a machine this busy, Redis may miss its 20 ms a few times
        answer.update(httpx.get(settings.endpoint_url + FEED, params={"user_id": "bob", "limit": 2}).json())
        return not answer["degraded"]

    with Redis.from_url(settings.redis_url) as client:
        client.lpush("user:bob:recent_items", "v4")
        try:
            wait_for(feed_with_context, "a feed made with recent items")
        finally:
            client.delete("user:bob:recent_items")
    assert "v4" not in [item["video_id"] for item in answer["items"]]


def test_swapping_under_load_fails_no_request_and_mixes_none(running):
    settings, tags = running
    facts = {}
    for tag in tags:
        record = bundle.read_record(bento.bundle_dir(settings, tag))
        facts[record.bundle_id] = (record.champion, record.models[record.champion].version)
    first = {bundle_id: "v5" if champion == "svd" else "v4" for bundle_id, (champion, _) in facts.items()}

    async def load() -> tuple[list[tuple[int, dict]], int]:
        found, swaps = [], 0
        async with httpx.AsyncClient(base_url=settings.endpoint_url, timeout=20) as client:

            async def one() -> None:
                response = await client.get(FEED, params={"user_id": "bob", "limit": 3})
                found.append((response.status_code, response.json()))

            tasks, started = [], time.perf_counter()
            for i in range(250):  # 50 a second
                await asyncio.sleep(max(0.0, started + i / 50 - time.perf_counter()))
                tasks.append(asyncio.create_task(one()))
                if i % 50 == 25:
                    swaps += 1
                    await asyncio.to_thread(bento.publish, settings, tags[swaps % 2])
            await asyncio.gather(*tasks)
        return found, swaps

    found, swaps = asyncio.run(load())
    assert swaps == 5
    assert [status for status, _ in found if status != 200] == []
    assert len(found) == 250
    served = {body["bundle"] for _, body in found}
    assert served == set(facts)  # both answered within the time
    for _, body in found:
        assert (body["model"]["kind"], body["model"]["version"]) == facts[body["bundle"]]
        assert body["items"][0]["video_id"] == first[body["bundle"]]


def test_the_endpoint_is_small_and_loads_no_training_library(running):
    settings, _ = running
    (server,) = [
        p
        for p in psutil.process_iter(["cmdline"])
        if str(settings.endpoint_port) in (p.info["cmdline"] or []) and "serve" in p.info["cmdline"]
    ]
    (worker,) = server.children()
    assert sum(p.memory_info().rss for p in (server, worker)) < 350e6
    mapped = " ".join(m.path for m in worker.memory_maps())
    for library in ("torch", "pyarrow", "scipy", "pandas"):
        assert f"/{library}/" not in mapped


def test_answers_leave_hardly_anything_to_the_collector(running):
    """What stays alive behind an answer makes Python walk its whole heap again and again, and every request wait."""
    settings, _ = running

    def collections() -> dict[str, float]:
        text = httpx.get(settings.endpoint_url + "/metrics").text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        found = {s.labels["generation"]: s.value for s in samples if s.name == "reelgraph_gc_seconds_count"}
        return {generation: found.get(generation, 0.0) for generation in "012"}

    before = collections()
    with httpx.Client(base_url=settings.endpoint_url) as client:
        for number in range(1_500):
            client.get(FEED, params={"user_id": f"user-{number % 50}", "limit": 3}).raise_for_status()
    time.sleep(0.3)  # they are counted ten times a second
    after = collections()
    assert after["2"] == before["2"]
    assert after["1"] - before["1"] <= 1
    assert after["0"] - before["0"] <= 10  # BentoML's time-out alone made it 50


def test_killed_hard_it_frees_the_port_and_stopped_it_leaves_nothing(home, shelved):
    bento.publish(home, shelved("a"))
    with endpoint(home) as process:
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 1
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []
    with endpoint(home) as process:  # on the same port
        wait_for(lambda: ready(home), "the bundle", timeout=10)
        children = psutil.Process(process.pid).children(recursive=True)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert time.monotonic() - started < 5
        assert not any(child.is_running() for child in children)


def test_a_bento_is_built_once_and_serves_its_own_bundle_anywhere(home, packed, tmp_path, redis):
    folder = packed("a")
    tag = bento.build(home, folder)
    assert tag == f"reelgraph:{bundle.read_record(folder).bundle_id}"
    whole = bento.bundle_dir(home, tag).parents[1]
    built_at = (whole / "bento.yaml").stat().st_mtime_ns
    assert bento.build(home, folder) == tag
    assert (whole / "bento.yaml").stat().st_mtime_ns == built_at

    required = (whole / "env" / "python" / "requirements.txt").read_text()
    assert "numpy==" in required
    assert "torch" not in required
    assert (whole / "src" / "serving" / "static" / "docs.html").is_file()

    (bento.bundle_dir(home, tag) / "cards.bin").write_bytes(b"damaged")
    assert bento.build(home, folder) == tag  # made whole again
    bundle.verify(bento.bundle_dir(home, tag))

    elsewhere = tmp_path / "another machine"
    shutil.copytree(whole, elsewhere)
    other = home.model_copy(update={"home": tmp_path / "other home", "redis_port": redis.redis_port})
    with endpoint(other, ".", elsewhere):
        wait_for(lambda: ready(other), "the packed bundle", timeout=10)
        assert f"reelgraph:{bundle_in_service(other)}" == tag
        body = httpx.get(other.endpoint_url + FEED, params={"user_id": "ann", "limit": 1}).json()
        assert body["items"][0]["video_id"] == "v1"


def test_a_build_that_fails_carries_what_bentoml_said(home, packed, monkeypatch):
    monkeypatch.setattr(bento, "SERVICE", "serving.service:Nonsense")
    with pytest.raises(BuildFailedError, match="Nonsense"):
        bento.build(home, packed("a"))
    assert bento.stored(home) == []


def test_a_build_cut_off_is_started_over(home, packed, monkeypatch):
    folder = packed("a")
    (home.bentoml_home / "bentos" / "reelgraph" / bundle.read_record(folder).bundle_id / "src").mkdir(
        parents=True
    )
    monkeypatch.setattr(bento, "BUILD_TIMEOUT_S", 0.01)
    with pytest.raises(BuildFailedError, match=r"did not end within 0\.01 s"):
        bento.build(home, folder)
    assert not (home.bentoml_home / "bentos" / "reelgraph" / bundle.read_record(folder).bundle_id).exists()


def test_importing_the_service_reads_and_connects_nothing(tmp_path):
    code = (
        "import sys, json, threading; import serving.service;"
        "print(json.dumps([sorted({'torch','mlflow','pyarrow','pandas','scipy'} & set(sys.modules)),"
        " threading.active_count()]))"
    )
    env = {**os.environ, "REELGRAPH_ENDPOINT_PORT": "not a port"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], 1]
