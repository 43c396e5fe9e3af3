"""The two-tower's training loop against a plain torch loop of the same shapes, and its memory at full size."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from ml.dataset import Catalogue, Interactions, Known, People
from ml.two_tower_config import TwoTowerConfig

ROUNDS, STEPS = 5, 8
LARGE_STEPS = 10
MIN_RATIO, MAX_LOADING = 0.9, 0.15
MEMORY_TARGET_BYTES = 4 * 1024**3
DAY_MS = 86_400_000

Figures = dict[str, Any]


def measure() -> Figures:
    """`loops`: examples (targets) a second of our loop and of the plain one, for a catalogue of KuaiRand-Pure's size
    and a large one, whose tables are updated row by row; `large`: what 1M users x 100k videos take. Each in a process
    of its own, one thread.
    """
    shapes = {
        "7,583 videos": partial(loops, 20_000, 7_583, 40),
        "100,000 videos": partial(loops, 20_000, 100_000, 40),
    }
    return {
        "loops": {name: _alone(loop) for name, loop in shapes.items()},
        "large": _alone(partial(large, 1_000_000, 100_000, 5)),
    }


def rows(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """(what, target, seen, met) of each figure that has a target."""
    told = []
    for name, found in figures["loops"].items():
        own, plain = found["targets_per_second"], found["plain_targets_per_second"]
        seen = f"{own:,.0f}/s against {plain:,.0f}/s ({found['ratio']:.2f}x)"
        told.append(
            (f"two-tower examples, {name}", f">= {MIN_RATIO}x plain torch", seen, found["ratio"] >= MIN_RATIO)
        )
        share = found["loading_share"]
        told.append(
            (f"two-tower data loading, {name}", f"<= {MAX_LOADING:.0%}", f"{share:.1%}", share <= MAX_LOADING)
        )
    peak = figures["large"]["peak_bytes"]
    seen = f"{peak / 1024**3:.2f} GiB"
    told.append(("two-tower at 1M users x 100k videos", "<= 4 GiB", seen, peak <= MEMORY_TARGET_BYTES))
    return told


def loops(users: int, videos: int, rows_per_user: int) -> Figures:
    """Median rates over `ROUNDS` turns of `STEPS` steps each, ours and the plain loop's taking turns.

    Both train the same towers with the same loss and optimisers; the plain loop's batches are tensors of random numbers
    of the same shapes that were made before. `loading_share` is the part of our time that goes into making batches.
    """
    import torch

    from ml.tower_loss import SampledSoftmax
    from ml.tower_training import Trainer, optimisers
    from ml.towers import TwoTower
    from ml.two_tower import Prepared, reproducible

    config = TwoTowerConfig(device="cpu")
    prepared = Prepared(generated(users, videos, rows_per_user), config)
    with reproducible(0, config.threads):
        data = prepared.data_on(torch.device("cpu"))
        trainer = Trainer(TwoTower(prepared.sizes, config), data, config, seed=0)
        plain = SampledSoftmax(TwoTower(prepared.sizes, config))
        plain_optimisers = optimisers(plain.towers, config)
        batches = np.array_split(prepared.examples.epoch(0, 0), trainer.steps)[:STEPS]
        real = [trainer.load(batch) for batch in batches]
        targets = sum(int((inputs.strength > 0).sum()) for inputs in real)
        made = [_like(inputs, prepared.sizes.videos) for inputs in real]

        def ours() -> None:
            for batch in batches:
                trainer.take_step(batch)

        def plainly() -> None:
            for inputs in made:
                for optimiser in plain_optimisers:
                    optimiser.zero_grad(set_to_none=True)
                plain(inputs).backward()
                for optimiser in plain_optimisers:
                    optimiser.step()

        ours()
        plainly()  # warm up: allocations, optimiser state

        def loading() -> None:
            for batch in batches:
                trainer.load(batch)

        times = [(_cpu_s(ours), _cpu_s(plainly), _cpu_s(loading)) for _ in range(ROUNDS)]
    own, peer, loaded = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "targets_per_second": targets / own,
        "moments_per_second": sum(map(len, batches)) / own,
        "plain_targets_per_second": targets / peer,
        "ratio": statistics.median(peer / own for own, peer, _ in times),
        "loading_share": loaded / own,
    }


def large(users: int, videos: int, rows_per_user: int) -> Figures:
    """Peak memory of a training of this size from its ids on, and its parts' seconds: preparing, `LARGE_STEPS` steps
    and making the model. The rows themselves are part of it."""
    import torch

    from ml.tower_training import Trainer
    from ml.towers import TwoTower
    from ml.two_tower import Prepared, reproducible

    config = TwoTowerConfig(device="cpu")
    known = generated(users, videos, rows_per_user)
    given = _peak_bytes()
    began = time.perf_counter()
    with reproducible(0, config.threads):
        prepared = Prepared(known, config)
        ready = time.perf_counter()
        data = prepared.data_on(torch.device("cpu"))
        trainer = Trainer(TwoTower(prepared.sizes, config), data, config, seed=0)
        batches = np.array_split(prepared.examples.epoch(0, 0), trainer.steps)[:LARGE_STEPS]
        started = time.perf_counter()
        for batch in batches:
            trainer.take_step(batch)
        trained = time.perf_counter()
        model = prepared.model(data, trainer.towers.eval(), 0.5)
    return {
        "users": len(model.user_ids),
        "videos": len(model.video_ids),
        "rows": len(known.interactions),
        "rows_bytes": given,
        "peak_bytes": _peak_bytes(),
        "target_bytes": MEMORY_TARGET_BYTES,
        "prepare_seconds": ready - began,
        "steps_per_second": len(batches) / (trained - started),
        "model_seconds": time.perf_counter() - trained,
    }


def generated(users: int, videos: int, rows_per_user: int, seed: int = 0) -> Known:
    """Random plays over 30 days, a few videos being much more popular than most; every user and video is there."""
    rng = np.random.default_rng(seed)
    n = users * rows_per_user
    user_rows = np.concatenate([np.arange(users), rng.integers(users, size=n - users)])
    popular = (videos * rng.random(n) ** 3).astype(np.int64)
    video_rows = np.concatenate([np.arange(videos), popular[: n - videos]]) if n > videos else popular
    started_ms = np.sort(rng.integers(30 * DAY_MS, size=n))
    weights = rng.random(n).astype(np.float32)
    video_ids = np.char.add("v", np.arange(videos).astype(np.str_))
    rows = Interactions(
        user_ids=np.char.add("u", np.arange(users).astype(np.str_))[user_rows],
        video_ids=video_ids[rng.permutation(video_rows)],
        started_at_ms=started_ms,
        ended_at_ms=started_ms + (weights * 60_000).astype(np.int64),
        ratings=5 * weights,
        weights=weights,
        positives=weights >= 0.5,
    )
    catalogue = Catalogue.of(
        video_ids,
        creator_ids=np.char.add("c", rng.integers(videos // 5, size=videos).astype(np.str_)),
        categories=np.char.add("k", rng.integers(40, size=videos).astype(np.str_)),
        durations_ms=rng.integers(5_000, 600_000, size=videos),
        upload_ms=rng.integers(30 * DAY_MS, size=videos),
        tags=[(f"t{row % 997}", f"t{row % 89}") for row in range(videos)],
    )
    return Known.of(rows, catalogue, People.nobody())


def _like(inputs: Any, videos: int) -> Any:
    """The same shapes, filled with random numbers (targets stay columns, weights stay where a target was)."""
    import torch

    from ml.tower_priors import VIDEO_AGES

    n, c = len(inputs.past.users), len(inputs.rows)
    past = inputs.past._replace(
        codes=torch.randint_like(inputs.past.codes, 1, videos + 1),
        weights=torch.rand_like(inputs.past.weights),
    )
    targets = torch.randint(c, inputs.targets.shape)
    strength = torch.where(inputs.strength > 0, torch.rand_like(inputs.strength), 0)
    met = (past.codes[:, None, :] == inputs.rows[targets][:, :, None] + 1).any(dim=2)
    return inputs._replace(
        past=past,
        targets=targets,
        strength=strength.masked_fill(met, 0),
        ages=torch.randint_like(inputs.ages, VIDEO_AGES),
        total=n,
    )


def _cpu_s(run: Callable[[], None]) -> float:
    """Processor time: other work on the machine is not in it."""
    began = time.process_time()
    run()
    return time.process_time() - began


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _alone(run: Callable[[], Figures]) -> Figures:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run).result()


def main() -> int:
    import json

    print(json.dumps(measure(), indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
