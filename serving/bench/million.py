"""A catalogue of a million videos: latency at 50 requests a second, and how many of the true best 100 are found."""

import json
from pathlib import Path
from typing import cast

import httpx
import numpy as np
import yaml

from ml.factors import FactorModel
from ml.saved import load as load_model
from ml.topk import top_k
from serving.bench.feed import at_rate, search
from serving.bench.figures import Figure, Result
from serving.bench.requests import FEED, feeds, sample
from serving.bench.servers import bench_settings, endpoint_over
from serving.bench.world import Plan, packed
from serving.catalogue import Catalogue
from serving.watched import Watched
from stack.settings import Settings

RATE = 50.0
BEST = 100
ASKED = 200
AGAIN = 5
# The plain order of the champion: nothing that is about this session, this page or chance.
PLAIN = {
    "session_share": 0.0, "intent_boost": 0.0, "repeat_penalty": 0.0, "diversity": 0.0, "exploration": 0.0,
}  # fmt: skip


def measure(quick: bool) -> list[Result]:
    plan = Plan("m", 250_000, 5_000) if quick else Plan("m", 1_000_000, 100_000)
    seconds, search_s = (5.0, 3.0) if quick else (40.0, 8.0)
    folder = packed(plan)
    users = sample(plan.user_ids, min(plan.users, 50_000))
    settings = bench_settings("million", feed_cache_s=0.0)
    _declare_plain(settings)
    result = Result("million")
    with endpoint_over(settings, folder) as servers:
        at_rate(settings, feeds(users), RATE, 3.0)
        steady = at_rate(settings, feeds(users), RATE, seconds)
        found = _asked(settings, users[:ASKED])
        most = search(settings, feeds(users), search_s, first=2 * RATE)
        result.details["memory_mb"] = round(servers.endpoint.memory_info().rss / 1e6)
    exact = true_best(folder, users[:ASKED])
    recalls = [len(set(found[user]) & exact[user]) / BEST for user in users[:ASKED]]
    record = next(iter((folder / "models").parent.rglob("index.json")), None)
    result.details |= {
        "videos": plan.videos,
        "steady": steady.summary(),
        "index": json.loads(record.read_text()) if record else None,
        "recall_lowest": min(recalls),
        "search": most.tries,
    }
    result.add(
        Figure("p50 at 50/s, cache off", steady.percentile_ms(50), "ms"),
        Figure("p99 at 50/s, cache off", steady.percentile_ms(99), "ms", "<=", 60),
        Figure("failed at 50/s", steady.failed, "", "==", 0),
        Figure("recall@100 of the exact list, 200 users", float(np.mean(recalls)), "", ">=", 0.95),
        Figure("highest rate with p99 < 100 ms, cache off", most.rate, "/s"),
        Figure("memory of the endpoint", result.details["memory_mb"], "MB"),
    )
    return [result]


def _declare_plain(settings: Settings) -> None:
    """An experiment that nobody is in and that a tester can ask for."""
    settings.experiments_file.parent.mkdir(parents=True, exist_ok=True)
    variants = [{"name": "usual", "share": 0.5}, {"name": "plain", "share": 0.5, "parameters": PLAIN}]
    experiment = {"id": "bench", "traffic": 0.0, "control": "usual", "variants": variants}
    settings.experiments_file.write_text(yaml.safe_dump({"experiments": [experiment]}))


def _asked(settings: Settings, users: list[str]) -> dict[str, list[str]]:
    """The plain list of each user, by the endpoint."""
    lists = {}
    with httpx.Client(base_url=settings.endpoint_url, timeout=10, trust_env=False) as http:
        for user in users:
            query = {"user_id": user, "limit": str(BEST), "experiment_id": "bench:plain"}
            answer = http.get(FEED, params=query).raise_for_status().json()
            for _ in range(
                AGAIN
            ):  # on a busy machine a list may be of trending: that says nothing of the search
                if not answer["degraded"]:
                    break
                answer = http.get(FEED, params=query).raise_for_status().json()
            lists[user] = [item["video_id"] for item in answer["items"]]
    return lists


def true_best(folder: Path, users: list[str]) -> dict[str, set[str]]:
    """The `BEST` videos of the highest score of the packed two-tower model that each user has not met."""
    model = cast(FactorModel, load_model(folder / "models" / "two-tower"))
    catalogue, watched = Catalogue.load(folder), Watched.load(folder)
    best = {}
    for user in users:
        scores = model.scores([user])[0]  # the catalogue has the model's videos, in the same order
        scores[watched.of(user)] = -np.inf
        best[user] = {str(catalogue.video_ids[row]) for row in top_k(scores[None, :], BEST)[0][0]}
    return best
