"""Hot swaps and rollbacks under load: nothing fails, nothing is mixed, and nobody waits much longer.

Each swap takes up a bundle that the endpoint has not met; each rollback goes to the one before.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from stack.settings import LOOPBACK, Settings

RATE = 100.0
TIMES = 50
# Few enough to come again, so that an answer kept from another bundle would show.
USERS = 2_000
AT_MOST_S = 1_200.0


@dataclass(frozen=True)
class Seen:
    """The same load without swaps and during them; `took`: seconds from published to served, there and back."""

    calm: Samples
    swapped: Samples
    took: list[tuple[float, float]]
    memory_mb: list[float]
    after_mb: float

    @property
    def ratio(self) -> float:
        return self.swapped.percentile_ms(99) / self.calm.percentile_ms(99)


def measure(quick: bool) -> list[Result]:
    size = (2_000, 2_000) if quick else (100_000, 100_000)
    plans = (Plan("a", *size), Plan("b", *size, seed=1))
    folders = [packed(plan) for plan in plans]
    old, new = [read_record(folder) for folder in folders]
    ids = [f"{i:02d}{new.bundle_id[2:]}" for i in range(5 if quick else TIMES)]
    marks = {old.bundle_id: plans[0].mark, **dict.fromkeys(ids, plans[1].mark)}
    stamps = {
        f'"bundle":"{bundle_id}","model":{{"kind":"{kind}","version":{json.dumps(model.version)}'
        for bundle_id in marks
        for kind, model in (old if bundle_id == old.bundle_id else new).models.items()
    }
    requests = feeds(sample(plans[0].user_ids, USERS))
    cached, made = [
        _swapping(bench_settings("swap", **settings), folders, ids, marks, requests, 5.0 if quick else 30.0)
        for settings in ({}, {"feed_cache_s": 0.0})
    ]
    result = Result("swap")
    result.details |= {"cached": _details(cached), "made": _details(made)}
    there, back = [s for s, _ in cached.took + made.took], [s for _, s in cached.took + made.took]
    result.add(Figure("hot swaps, each with its rollback", len(there)))
    for seen, how in ((cached, ""), (made, ", cache off")):
        result.add(
            Figure(f"requests meanwhile{how}", len(seen.swapped)),
            Figure("- failed", seen.swapped.failed, "", "==", 0),
            Figure("- mixed", _mixed(seen.swapped, stamps), "", "==", 0),
            Figure("- empty", seen.swapped.flagged(EMPTY), "", "==", 0),
            Figure(f"p99 at 100/s without swaps{how}", seen.calm.percentile_ms(99), "ms"),
            Figure("- swapping all the time", seen.swapped.percentile_ms(99), "ms"),
            Figure("- against without", seen.ratio, "x", "<", 2),
        )
    result.add(
        Figure("from published to served, longest", max(there), "s"),
        Figure("rollback, longest", max(back), "s"),
        Figure("memory before", cached.memory_mb[0], "MB"),
        Figure("- highest", max(cached.memory_mb), "MB"),
        Figure("- after", cached.after_mb, "MB"),
    )
    return [result]


def _swapping(
    settings: Settings,
    folders: Sequence[Path],
    ids: Sequence[str],
    marks: Mapping[str, str],
    requests: Sequence[bytes],
    calm_s: float,
) -> Seen:
    with endpoint_over(settings, folders[0]) as servers:
        first = shelve(servers.settings, folders[0])
        others = [shelve(servers.settings, folders[1], bundle_id) for bundle_id in ids]

        def load_of(seconds: float) -> Load:
            return Load(LOOPBACK, servers.settings.endpoint_port, RATE, seconds, marks=dict(marks))

        load.run(load_of(3.0), requests)
        calm = load.run(load_of(calm_s), requests)
        with MemoryWatch(servers.endpoint) as memory, load.running(load_of(AT_MOST_S), requests) as running:
            took = _there_and_back(servers, first, others)
            running.end()
            swapped = running.samples()
        time.sleep(2)
        return Seen(calm, swapped, took, memory.mb, own_bytes(servers.endpoint) / 1e6)


def _details(seen: Seen) -> dict[str, object]:
    return {
        "calm": seen.calm.summary(),
        "swapped": seen.swapped.summary(),
        "stamps": seen.swapped.stamps,
        "took_s": seen.took,
        "memory_mb": seen.memory_mb,
    }


def _there_and_back(servers: Servers, first: str, others: Sequence[str]) -> list[tuple[float, float]]:
    """Publish each of the others, and after it the first again; seconds until each served."""
    took = []
    for other in others:
        pair = []
        for tag in (other, first):
            bento.publish(servers.settings, tag)
            pair.append(round(wait_for_bundle(servers.settings, tag), 2))
        took.append((pair[0], pair[1]))
    return took


def _mixed(samples: Samples, stamps: set[str]) -> int:
    """Header, body and titles of one answer disagree, or the model is not that of the bundle."""
    wrong = [i for i, stamp in enumerate(samples.stamps) if stamp and stamp not in stamps]
    return samples.flagged(MIXED) + int(sum((samples.stamp == i).sum() for i in wrong))
