"""A million requests: does memory stay where it was?"""

from serving.bench import load
from serving.bench.client import Load
from serving.bench.feed import search
from serving.bench.figures import Figure, Result
from serving.bench.memory import MemoryWatch
from serving.bench.requests import events, feeds, mixed, sample
from serving.bench.samples import CACHED, EMPTY, MIXED
from serving.bench.servers import bench_settings, endpoint_over
from serving.bench.world import Plan, packed
from stack.settings import LOOPBACK

REQUESTS = 1_000_000
# Of the highest rate with p99 < 100 ms: what one would run at.
COMFORTABLE = 0.7
HOT_USERS = 500
# Feeds of few users (from the cache mostly), feeds of all, and what users do, which drops what was kept for them.
SHARES = (0.84, 0.15, 0.01)
SEARCH_S, WARM_S = 4.0, 20.0
FLAT_MB = 20.0
"""How much the straight line through the last half may rise in a million requests: less than one in fifty bytes."""


def measure(quick: bool) -> list[Result]:
    plan = Plan("a", 2_000, 2_000) if quick else Plan("a", 100_000, 100_000)
    count = 50_000 if quick else REQUESTS
    users = sample(plan.user_ids, plan.users)
    hot, cold = users[:HOT_USERS], users[HOT_USERS:]
    pools = (feeds(hot), feeds(cold), events(hot, plan.video_ids))
    requests, _ = mixed(list(zip(SHARES, pools, strict=True)), min(count, 300_000))
    result = Result("soak")
    with endpoint_over(bench_settings("soak"), packed(plan)) as servers:
        port = servers.settings.endpoint_port
        rate = max(50.0, COMFORTABLE * search(servers.settings, requests, SEARCH_S, first=800.0).rate)
        load.run(Load(LOOPBACK, port, rate, WARM_S), requests)
        with MemoryWatch(servers.endpoint) as memory:
            samples = load.run(Load(LOOPBACK, port, rate, count / rate), requests)
    rise = memory.slope_mb_s() * REQUESTS / rate
    result.details |= {"load": samples.summary(), "memory_mb": memory.mb[:: max(1, len(memory.mb) // 200)]}
    result.add(
        Figure("requests", len(samples)),
        Figure("at", rate, "/s"),
        Figure("failed", samples.failed, "", "==", 0),
        Figure("mixed or empty", samples.flagged(MIXED) + samples.flagged(EMPTY), "", "==", 0),
        Figure("answered from the cache", 100 * samples.flagged(CACHED) / len(samples), "%"),
        Figure("p99", samples.percentile_ms(99), "ms"),
        Figure("memory at the start", memory.mb[0], "MB"),
        Figure("- in the middle", memory.mb[len(memory.mb) // 2], "MB"),
        Figure("- at the end", memory.mb[-1], "MB"),
        Figure("- rise in a million requests, by the last half", rise, "MB", "<=", FLAT_MB),
    )
    return [result]
