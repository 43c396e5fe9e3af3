"""Feeds of 100,000 videos and users: latency at a fixed rate, the highest rate, the cache, the bare peer, JWT."""

import time
from collections.abc import Sequence
from pathlib import Path

import jwt
from pydantic import SecretStr

from serving.bench import load
from serving.bench.client import Load
from serving.bench.figures import Figure, Result
from serving.bench.highest_rate import Search, highest_rate
from serving.bench.requests import FEED, feeds, get, sample
from serving.bench.samples import DEGRADED, EMPTY, MIXED, Samples
from serving.bench.servers import BUILD, bench_settings, cpu_s, endpoint_over, peer_over, troubles
from serving.bench.world import Plan, packed
from stack.settings import LOOPBACK, Settings

RATE = 100.0
FEW_USERS = 200
WARM_S = 3.0
SECRET = "of this benchmark alone, and of nobody else"  # noqa: S105 - signs tokens for a server that dies with it


def measure(quick: bool) -> list[Result]:
    plan = Plan("a", 2_000, 2_000) if quick else Plan("a", 100_000, 100_000)
    seconds, search_s = (5.0, 3.0) if quick else (40.0, 8.0)
    folder = packed(plan)
    users = sample(plan.user_ids, min(plan.users, 100_000))
    result = Result("feed")
    with endpoint_over(bench_settings("feed", feed_cache_s=0.0), folder) as servers:
        asked = feeds(users)
        at_rate(servers.settings, asked, RATE, WARM_S)
        began = cpu_s(servers.endpoint)
        steady = at_rate(servers.settings, asked, RATE, seconds)
        cpu_ms = 1000 * (cpu_s(servers.endpoint) - began) / len(steady)
        result.details["troubles"] = troubles(servers.settings)
        uncached = search(servers.settings, asked, search_s, first=250.0)
        result.details["log"] = servers.log("endpoint")[-2000:]
    blas = {"OPENBLAS_NUM_THREADS": "1"}
    with peer_over(folder / "models" / "two-tower", BUILD / "peer.log", blas) as (port, process):
        asked_peer = [get("/", user_id=user) for user in users]
        load.run(_load(port, RATE, WARM_S), asked_peer)
        began = cpu_s(process)
        peer_steady = load.run(_load(port, RATE, seconds), asked_peer)
        peer_cpu_ms = 1000 * (cpu_s(process) - began) / len(peer_steady)
        peer = highest_rate(lambda rate: load.run(_load(port, rate, search_s), asked_peer), 300.0)
    with endpoint_over(bench_settings("feed"), folder) as servers:
        few = feeds(users[:FEW_USERS])
        at_rate(servers.settings, few, RATE, WARM_S)
        cached = search(servers.settings, few, search_s, first=1000.0)
    secured = _with_tokens(folder, users, seconds)

    result.details |= {
        "steady": steady.summary(),
        "uncached": uncached.tries,
        "cached": cached.tries,
        "peer_steady": peer_steady.summary(),
        "peer": peer.tries,
        "jwt": secured.summary(),
    }
    result.add(
        Figure("p50 at 100/s, cache off", steady.percentile_ms(50), "ms", "<=", 10),
        Figure("p99 at 100/s, cache off", steady.percentile_ms(99), "ms", "<=", 40),
        Figure("failed, mixed, empty or degraded at 100/s", _wrong(steady), "", "==", 0),
        Figure("highest rate with p99 < 100 ms, cache off", uncached.rate, "/s", ">=", 250),
        Figure("the same of the bare peer", peer.rate, "/s"),
        Figure("ours of the peer's", 100 * uncached.rate / max(peer.rate, 1e-9), "%", ">=", 60),
        Figure("p99 of the peer at 100/s", peer_steady.percentile_ms(99), "ms"),
        Figure("CPU of a feed at 100/s, all threads", cpu_ms, "ms"),
        Figure("CPU of the peer's answer", peer_cpu_ms, "ms"),
        Figure("highest rate with p99 < 100 ms, cached", cached.rate, "/s", ">=", 1000),
        Figure("answered from the cache there", _cached_share(cached), "%"),
        Figure("p50 at 100/s with JWT (HS256), cache off", secured.percentile_ms(50), "ms"),
        Figure("p99 at 100/s with JWT (HS256), cache off", secured.percentile_ms(99), "ms"),
        Figure("failed with JWT", int((secured.status != 200).sum()), "", "==", 0),
    )
    return [result]


def at_rate(settings: Settings, requests: Sequence[bytes], rate: float, seconds: float) -> Samples:
    return load.run(_load(settings.endpoint_port, rate, seconds), requests)


def _load(port: int, rate: float, seconds: float) -> Load:
    return Load(LOOPBACK, port, rate, seconds)


def search(settings: Settings, requests: Sequence[bytes], seconds: float, first: float) -> Search:
    """Each rate goes on where the one before ended: a list that is still kept from an earlier one would be none of the
    server's own. A rate that the server just failed leaves nothing behind: the next begins when it is quiet."""
    at = 0

    def ask(rate: float) -> Samples:
        nonlocal at
        samples = at_rate(settings, [*requests[at:], *requests[:at]], rate, seconds)
        at = (at + len(samples)) % len(requests)
        time.sleep(0.5)
        return samples

    at_rate(settings, requests, RATE, WARM_S)
    return highest_rate(ask, first)


def _with_tokens(folder: Path, users: Sequence[str], seconds: float) -> Samples:
    """Each user with a token of their own, seen for the first time: the dearest case."""
    secure = {
        "development": False,
        "jwt_algorithm": "HS256",
        "jwt_secret": SecretStr(SECRET),
        "feed_cache_s": 0.0,
    }
    now = int(time.time())
    requests = []
    for user in users[: int(RATE * (seconds + WARM_S)) + 1]:
        claims = {"sub": user, "aud": "reelgraph", "roles": ["client"], "iat": now, "exp": now + 3600}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        requests.append(get(FEED, user_id=user, token=token))
    with endpoint_over(bench_settings("feed", **secure), folder) as servers:
        at_rate(servers.settings, requests[-int(RATE * WARM_S) :], RATE, WARM_S)
        return at_rate(servers.settings, requests, RATE, seconds)


def _wrong(samples: Samples) -> int:
    flags = (MIXED, EMPTY, DEGRADED)
    return int((samples.status != 200).sum()) + sum(samples.flagged(flag) for flag in flags)


def _cached_share(search: Search) -> float:
    held = [found for found in search.tries if found["held"]]
    return 100 * held[-1]["cached"] / held[-1]["requests"] if held else 0.0
