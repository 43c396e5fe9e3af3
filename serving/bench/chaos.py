"""Each dependency killed under load in turn and started again: what clients see, and how soon all is well."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from clickhouse_connect.driver.exceptions import ClickHouseError

from serving.bench import load
from serving.bench.client import Load
from serving.bench.figures import Figure, Result
from serving.bench.requests import events, feeds, get, mixed, sample
from serving.bench.samples import DEGRADED, EMPTY, Samples
from serving.bench.servers import Servers, bench_settings, endpoint_over
from serving.bench.world import Plan, packed
from stack.clients import clickhouse_client
from stack.settings import LOOPBACK, Settings

RATE = 60.0
CALM_S, DOWN_S, AFTER_S = 5.0, 8.0, 15.0
RECOVERY_S = 10.0
CLEAN_S = 1.0
POLL_S = 0.25
FEEDS, EVENTS, SIMILAR, MODELS = range(4)
SHARES = (0.75, 0.15, 0.08, 0.02)
MLFLOW = "mlflow"


@dataclass(frozen=True)
class Blow:
    """One dependency's end and return: when it was killed and when it was well again (monotonic clock), the load's
    answers with their kinds, and when a row written after the return could be read (None if never)."""

    name: str
    killed: float
    well: float
    samples: Samples
    kinds: np.ndarray
    written: float | None

    def of(self, kind: int) -> Samples:
        return self.samples.where(self.kinds == kind)

    def down(self, samples: Samples) -> Samples:
        return samples.where((samples.due > self.killed) & (samples.due < self.well))

    @property
    def degraded_share(self) -> float:
        """Of the feeds while it was away."""
        away = self.down(self.of(FEEDS))
        return away.flagged(DEGRADED) / max(1, len(away))

    @property
    def calm_degraded(self) -> int:
        """Feeds that were degraded before the blow: a busy machine misses Redis' 20 ms now and then."""
        calm = self.of(FEEDS)
        return calm.where(calm.due < self.killed).flagged(DEGRADED)

    @property
    def recovered_s(self) -> float:
        """From when it was well until a second begins in which no feed is degraded, and until rows flow; infinite if
        either never comes."""
        rows_s = float("inf") if self.written is None else max(0.0, self.written - self.well)
        return max(self._clean_after_s(), rows_s)

    def _clean_after_s(self) -> float:
        feeds_then = self.of(FEEDS)
        after = feeds_then.where(feeds_then.due > self.well)
        moments = after.due - self.well
        degraded = moments[(after.flags & DEGRADED) > 0]
        starts = np.concatenate([[0.0], degraded])
        ends = np.concatenate([degraded, [moments[-1] if len(moments) else 0.0]])
        clean = np.flatnonzero(ends - starts >= CLEAN_S)
        return float(starts[clean[0]]) if len(clean) else float("inf")


def measure(quick: bool) -> list[Result]:
    plan = Plan("a", 2_000, 2_000) if quick else Plan("a", 100_000, 100_000)
    result = Result("chaos")
    names = ("redis", "clickhouse", "postgres") if quick else ("redis", "clickhouse", "postgres", MLFLOW)
    with endpoint_over(bench_settings("chaos", feed_cache_s=0.0), packed(plan)) as servers:
        if MLFLOW in names:
            servers.start(MLFLOW)
        sent = 0
        for name in names:
            blow = _blow(servers, plan, name, seed=len(result.details))
            result.add(*_figures(blow))
            result.details[name] = _details(blow)
            sent += int((blow.of(EVENTS).status == 202).sum())
        stored = _settled(servers.settings, sent)
        result.add(
            Figure("events accepted over all", sent),
            Figure("- of them in ClickHouse, each once", stored, "", "==", sent),
        )
    return [result]


def _blow(servers: Servers, plan: Plan, name: str, seed: int) -> Blow:
    seconds = CALM_S + DOWN_S + AFTER_S + 20  # the start of the slowest; ended when done
    requests, kinds = _requests(plan, int(RATE * seconds), seed)
    settings = servers.settings
    with load.running(Load(LOOPBACK, settings.endpoint_port, RATE, seconds), requests) as running:
        time.sleep(CALM_S + 1)
        killed = time.monotonic()
        servers.kill(name)
        time.sleep(DOWN_S)
        servers.start(name)
        well = time.monotonic()
        written = _when(lambda: _rows_flow(settings), AFTER_S)
        time.sleep(max(0.0, well + AFTER_S - time.monotonic()))
        running.end()
        samples = running.samples()
    return Blow(name, killed, well, samples, np.array(kinds)[: len(samples)], written)


def _requests(plan: Plan, count: int, seed: int) -> tuple[list[bytes], list[int]]:
    users = sample(plan.user_ids, count, seed)
    similar = [get(f"/api/v1/recommendations/similar/{v}") for v in sample(plan.video_ids, 200, seed)]
    pools = (feeds(users), events(users, plan.video_ids, seed), similar, [get("/api/v1/recs/models")])
    return mixed(list(zip(SHARES, pools, strict=True)), count, seed)


def _figures(blow: Blow) -> list[Figure]:
    everything, lists = blow.samples, blow.samples.where(blow.kinds != MODELS)
    away = blow.down(blow.of(FEEDS))
    figures = [
        Figure(
            f"{blow.name}: 5xx of feeds, events, similar and models", everything.server_errors, "", "==", 0
        ),
        Figure(f"{blow.name}: no answer", int((everything.status == 0).sum()), "", "==", 0),
        Figure(f"{blow.name}: empty feeds", lists.flagged(EMPTY), "", "==", 0),
        Figure(f"{blow.name}: p99 of feeds while away", away.percentile_ms(99), "ms"),
    ]
    if blow.name == "redis":
        figures.append(
            Figure("redis: feeds marked degraded while away", 100 * blow.degraded_share, "%", ">=", 99)
        )
    figures.append(Figure(f"{blow.name}: recovered after", round(blow.recovered_s, 2), "s", "<", RECOVERY_S))
    return figures


def _details(blow: Blow) -> dict[str, object]:
    kinds = {"feeds": FEEDS, "events": EVENTS, "similar": SIMILAR, "models": MODELS}
    return {
        "away_s": round(blow.well - blow.killed, 1),
        "degraded_share": round(blow.degraded_share, 4),
        "degraded_before": blow.calm_degraded,
        **{name: blow.of(kind).summary() for name, kind in kinds.items() if (blow.kinds == kind).any()},
    }


# --- rows -------------------------------------------------------------------------------------------------------


def _count(settings: Settings, table: str, column: str) -> int | None:
    """Distinct values in a table; None while ClickHouse does not answer."""
    try:
        client = clickhouse_client(settings)
    except (ClickHouseError, OSError):
        return None
    try:
        return int(client.query(f"SELECT uniqExact({column}) FROM {table}").result_rows[0][0])  # noqa: S608
    except (ClickHouseError, OSError):
        return None
    finally:
        client.close()


def _rows_flow(settings: Settings) -> bool:
    """Whether decisions arrive: more of them now than a moment ago."""
    before = _count(settings, "feed_decisions", "request_id")
    time.sleep(1.5)
    after = _count(settings, "feed_decisions", "request_id")
    return before is not None and after is not None and after > before


def _when(true: Callable[[], bool], timeout_s: float) -> float | None:
    """The moment before the first look that found it true; None if none did in time."""
    deadline = time.monotonic() + timeout_s
    while (now := time.monotonic()) < deadline:
        if true():
            return now
        time.sleep(POLL_S)
    return None


def _settled(settings: Settings, wanted: int, timeout_s: float = 30.0) -> int:
    """Events in ClickHouse once there are as many as wanted, or after a while."""
    deadline = time.monotonic() + timeout_s
    found = 0
    while found < wanted and time.monotonic() < deadline:
        found = _count(settings, "playback_events", "event_id") or found
        time.sleep(POLL_S)
    return found
