"""Hot swaps and rollbacks under load: nothing fails, nothing is mixed, and nobody waits much longer."""

import json
import time

from serving import bento
from serving.bench import load
from serving.bench.client import Load
from serving.bench.figures import Figure, Result
from serving.bench.memory import MemoryWatch, own_bytes
from serving.bench.requests import feeds, sample
from serving.bench.samples import EMPTY, MIXED, Samples
from serving.bench.servers import Servers, bench_settings, endpoint_over, wait_for_bundle
from serving.bench.world import Plan, packed, shelve
from serving.bundle import read_record
from stack.settings import LOOPBACK

RATE = 100.0
TIMES = 50
# Few enough to come again, so that an answer kept from another bundle would show.
USERS = 2_000
AT_MOST_S = 1_200.0


def measure(quick: bool) -> list[Result]:
    size = (2_000, 2_000) if quick else (100_000, 100_000)
    plans = (Plan("a", *size), Plan("b", *size, seed=1))
    folders = [packed(plan) for plan in plans]
    records = [read_record(folder) for folder in folders]
    marks = {record.bundle_id: plan.mark for record, plan in zip(records, plans, strict=True)}
    stamps = {
        f'"bundle":"{record.bundle_id}","model":{{"kind":"{kind}","version":{json.dumps(model.version)}'
        for record in records
        for kind, model in record.models.items()
    }
    requests = feeds(sample(plans[0].user_ids, USERS))
    times, calm_s = (5, 5.0) if quick else (TIMES, 30.0)
    result = Result("swap")
    with endpoint_over(bench_settings("swap"), folders[0]) as servers:
        tags = [shelve(servers.settings, folder) for folder in folders]
        port = servers.settings.endpoint_port
        load.run(Load(LOOPBACK, port, RATE, 3.0, marks=marks), requests)
        calm = load.run(Load(LOOPBACK, port, RATE, calm_s, marks=marks), requests)
        before_mb = own_bytes(servers.endpoint) / 1e6
        with (
            MemoryWatch(servers.endpoint) as memory,
            load.running(Load(LOOPBACK, port, RATE, AT_MOST_S, marks=marks), requests) as running,
        ):
            took = _there_and_back(servers, tags, times)
            running.end()
            swapped = running.samples()
        time.sleep(2)
        after_mb = own_bytes(servers.endpoint) / 1e6
    there, back = [s for s, _ in took], [s for _, s in took]
    result.details |= {
        "calm": calm.summary(),
        "swapped": swapped.summary(),
        "stamps": swapped.stamps,
        "swap_s": there,
        "rollback_s": back,
        "memory_mb": memory.mb,
    }
    result.add(
        Figure("hot swaps, each with its rollback", len(took)),
        Figure("requests meanwhile", len(swapped)),
        Figure("failed", swapped.failed, "", "==", 0),
        Figure("mixed", _mixed(swapped, stamps), "", "==", 0),
        Figure("empty", swapped.flagged(EMPTY), "", "==", 0),
        Figure("p99 at 100/s without swaps", calm.percentile_ms(99), "ms"),
        Figure("p99 at 100/s, swapping all the time", swapped.percentile_ms(99), "ms"),
        Figure("- against without", swapped.percentile_ms(99) / calm.percentile_ms(99), "x", "<", 2),
        Figure("from published to served, longest", max(there), "s"),
        Figure("rollback, longest", max(back), "s"),
        Figure("memory before", before_mb, "MB"),
        Figure("- highest", memory.peak_mb, "MB"),
        Figure("- after", after_mb, "MB"),
    )
    return [result]


def _there_and_back(servers: Servers, tags: list[str], times: int) -> list[tuple[float, float]]:
    """Publish the second bundle, then the first again, `times` times; seconds until each served."""
    took = []
    for _ in range(times):
        pair = []
        for tag in (tags[1], tags[0]):
            bento.publish(servers.settings, tag)
            pair.append(round(wait_for_bundle(servers.settings, tag), 2))
        took.append((pair[0], pair[1]))
    return took


def _mixed(samples: Samples, stamps: set[str]) -> int:
    """Header, body and titles of one answer disagree, or the model is not that of the bundle."""
    wrong = [i for i, stamp in enumerate(samples.stamps) if stamp and stamp not in stamps]
    return samples.flagged(MIXED) + int(sum((samples.stamp == i).sum() for i in wrong))
