"""What Prometheus reads: steps, outcomes, the runtime; and no alert or dashboard that asks for what nobody exports."""

import asyncio
import gc
import json
import math
import re
import threading
import time
import timeit

import pytest
import yaml
from prometheus_client import CollectorRegistry

from serving.api.app import create_app
from serving.api.state import State
from serving.assembly import assemble
from serving.telemetry.metrics import Metrics
from serving.telemetry.outcomes import OutcomeMetrics
from serving.telemetry.runtime import RuntimeMetrics
from stack.settings import PROJECT_ROOT, Settings


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_a_step_is_observed_under_its_name():
    metrics = Metrics()
    for seconds in (0.0002, 0.003):
        metrics.observe_step("blend", seconds)
    registry = metrics.registry
    assert value(registry, "reelgraph_step_seconds_count", step="blend") == 2
    assert value(registry, "reelgraph_step_seconds_sum", step="blend") == pytest.approx(0.0032)
    assert value(registry, "reelgraph_step_seconds_bucket", step="blend", le="0.00025") == 1
    assert value(registry, "reelgraph_step_seconds_count", step="filter") is None


def test_observing_a_step_costs_microseconds():
    metrics = Metrics()
    took = min(timeit.repeat(lambda: metrics.observe_step("blend", 0.001), number=10_000, repeat=5)) / 10_000
    assert took < 20e-6  # 1 us; a busy machine has its day


def test_impressions_and_what_became_of_them_are_counted_by_variant():
    registry = CollectorRegistry()
    outcomes = OutcomeMetrics(registry)
    outcomes.shown("r1", {"blend": "svd", "page": "a"}, 20)
    outcomes.shown("r2", {"blend": "control"}, 10)
    outcomes.shown("r3", {}, 5)
    outcomes.happened("like", "r1", 1.5)
    outcomes.happened("like", "r2", 1.5)
    outcomes.happened("like", "r2", 1.5)
    outcomes.happened("like", "r3", 1.5)
    outcomes.happened("view_start", "", -3.0)
    shown = {
        (e, v): value(registry, "reelgraph_impressions_total", experiment=e, variant=v)
        for e, v in (("blend", "svd"), ("page", "a"), ("blend", "control"), ("", ""))
    }
    assert shown == {("blend", "svd"): 20, ("page", "a"): 20, ("blend", "control"): 10, ("", ""): 5}
    liked = {
        (e, v): value(registry, "reelgraph_outcomes_total", experiment=e, variant=v, type="like")
        for e, v in (("blend", "svd"), ("page", "a"), ("blend", "control"), ("", ""))
    }
    assert liked == {("blend", "svd"): 1, ("page", "a"): 1, ("blend", "control"): 2, ("", ""): None}
    assert (
        value(registry, "reelgraph_event_delay_seconds_sum") == 6.0
    )  # a clock that runs ahead counts as no delay


def test_only_so_many_answers_are_remembered():
    registry = CollectorRegistry()
    outcomes = OutcomeMetrics(registry, remembered=2)
    for number in range(3):
        outcomes.shown(f"r{number}", {"blend": "svd"}, 1)
    for number in range(3):
        outcomes.happened("like", f"r{number}", 0)
    assert value(registry, "reelgraph_outcomes_total", experiment="blend", variant="svd", type="like") == 2


def test_the_lag_of_the_event_loop_is_what_blocks_it():
    registry = CollectorRegistry()

    async def run() -> None:
        runtime = RuntimeMetrics(registry, lambda: None)
        runtime.start()
        await asyncio.sleep(0.05)
        time.sleep(0.4)
        await asyncio.sleep(0.05)
        await runtime.close()

    asyncio.run(run())
    assert value(registry, "reelgraph_event_loop_lag_seconds_sum") > 0.2
    assert value(registry, "reelgraph_event_loop_lag_seconds_bucket", le="0.1") == 0


def test_collections_are_timed_while_it_runs_and_not_afterwards():
    registry = CollectorRegistry()

    async def run() -> float | None:
        runtime = RuntimeMetrics(registry, lambda: None)
        runtime.start()
        gc.collect()
        await runtime.close()
        counted = value(registry, "reelgraph_gc_seconds_count", generation="2")
        gc.collect()
        return counted

    assert asyncio.run(run()) == value(registry, "reelgraph_gc_seconds_count", generation="2") == 1


def test_a_collection_that_begins_inside_a_metric_does_not_wait_for_itself():
    registry = CollectorRegistry()
    runtime = RuntimeMetrics(registry, lambda: None)
    done = threading.Event()

    def collect_inside() -> None:
        with runtime._by_generation[2]._sum._lock:
            runtime._collected("start", {"generation": 2})
            runtime._collected("stop", {"generation": 2})
        done.set()

    threading.Thread(target=collect_inside, daemon=True).start()
    assert done.wait(5)
    asyncio.run(runtime.close())
    assert value(registry, "reelgraph_gc_seconds_count", generation="2") == 1


def test_the_age_of_the_bundle_is_that_of_the_one_in_service():
    registry = CollectorRegistry()
    made: list[float | None] = [None]
    RuntimeMetrics(registry, lambda: made[0])
    age = value(registry, "reelgraph_bundle_age_seconds")
    assert age is not None
    assert math.isnan(age)
    made[0] = time.time() - 100
    assert value(registry, "reelgraph_bundle_age_seconds") == pytest.approx(100, abs=5)


def _exported(settings: Settings) -> dict[str, set[str]]:
    """Every series that a running endpoint can have, and the labels it has them by."""
    state = State()

    async def make() -> None:
        await (await assemble(settings, state)).close()

    asyncio.run(make())
    found: dict[str, set[str]] = {}
    for collector in state.metrics.registry._collector_to_names:
        labels = {*getattr(collector, "_labelnames", ()), "job", "instance"}
        for family in getattr(collector, "describe", collector.collect)():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
                family.type, ("",)
            )
            for suffix in suffixes:
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def _alerts() -> list[tuple[str, str]]:
    groups = yaml.safe_load((PROJECT_ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    return [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


def _panels() -> list[tuple[str, str]]:
    dashboard = json.loads((PROJECT_ROOT / "deploy" / "grafana" / "endpoint.json").read_text())
    return [
        (panel["title"], target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


_OF_PROMETHEUS = {"up"}
_SELECTOR = re.compile(r"\b((?:reelgraph|process|up)\w*)\s*(?:\{([^}]*)\})?")


def test_alerts_and_dashboard_ask_for_what_is_exported(home):
    exported = _exported(home)
    for name, query in [*_alerts(), *_panels()]:
        asked = _SELECTOR.findall(query)
        assert asked, name
        labels_of_all: set[str] = set()
        for metric, matchers in asked:
            if metric in _OF_PROMETHEUS:
                continue
            assert metric in exported, f"{name}: nobody exports {metric}"
            labels_of_all |= exported[metric]
            named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert named <= exported[metric], f"{name}: {metric} has no label {named - exported[metric]}"
        grouped = {word.strip() for by in re.findall(r"\bby\s*\(([^)]*)\)", query) for word in by.split(",")}
        assert grouped <= labels_of_all, f"{name}: {grouped - labels_of_all}"
        assert query.count("(") == query.count(")"), name


def test_the_promised_alerts_are_there():
    assert {"InferenceErrors", "TrainingFailed", "SlowAnswers", "CacheHitsLow"} <= {
        name for name, _ in _alerts()
    }


def test_a_metric_has_no_label_that_could_hold_an_id(home):
    for name, labels in _exported(home).items():
        assert not {"user", "user_id", "video", "video_id", "request_id", "path", "key"} & labels, name


def test_routes_in_the_alerts_are_routes_of_the_app(home):
    """An alert whose pattern matches no route would never fire."""
    paths = set(create_app(State()).openapi()["paths"])
    patterns = {p for _, query in [*_alerts(), *_panels()] for p in re.findall(r'route=~"([^"]+)"', query)}
    assert patterns
    for pattern in patterns:
        assert {p for p in paths if re.fullmatch(pattern, p)} >= {
            "/api/v1/recommendations/feed", "/api/v1/inference/recommend", "/api/v1/recs/{user_id}",
        }  # fmt: skip
