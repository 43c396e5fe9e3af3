"""How often the gate is fooled by luck and how often it sees a real gain, on users whose tastes are known."""

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.gate import Contestant, Decision, Rules, decide
from ml.gate_evidence import level, seed_noise, weigh
from ml.metrics import PRIMARY, PerUser
from ml.simulation import Platform, noise_for_gain, per_user_metrics, ranker, simulate_platform

PLATFORMS = 4
PAIRS = 200
TARGET_GAIN = 0.03
GAINS = (0.01, 0.02, TARGET_GAIN, 0.05)
MAX_FALSE, MIN_FOUND = 0.05, 0.80

# Trainings that the noise between seeds is estimated from, on a platform that no pair is drawn from.
NOISE_FITS = 20
_NOISE_PLATFORM, _FIRST_PLATFORM = 900_000, 1_000_000
_SPACING = 1_000  # a platform's calibration uses the seeds after its own

Say = Callable[[str], None]


def measure(
    *,
    pairs: int = PAIRS,
    gains: Sequence[float] = GAINS,
    platforms: int = PLATFORMS,
    users: int = 15_600,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Shares of pairs that the gate promotes: `same` (A/A: one model, other seeds) and for each gain in NDCG@10.

    Every pair is a champion and a challenger of their own, fitted with other seeds and judged on the same users;
    `platforms` worlds take turns. The gate is told what it is told in production: the noise between seeds, here
    estimated from 20 trainings on another platform (`seed_noise`), and that this is the first test. `interval`s are
    exact 95% binomial ones (Clopper and Pearson 1934).
    """
    rules = Rules(precision_floor=0.0, other_noise=noise_between_seeds(users))
    worlds = [simulate_platform(users, seed=_FIRST_PLATFORM + _SPACING * i) for i in range(platforms)]
    places = [worlds[pair % platforms] for pair in range(pairs)]
    champions = [_contestant(world, world.tastes.noise, 2 * pair) for pair, world in enumerate(places)]
    found: dict[str, Any] = {}
    for gain in sorted({0.0, *gains}, key=lambda gain: (gain not in (0, TARGET_GAIN), gain)):
        decisions = [
            decide(
                _contestant(world, noise_for_gain(world, gain), 2 * pair + 1), champions[pair], rules=rules
            )
            for pair, world in enumerate(places)
        ]
        name = "same" if gain == 0 else f"{gain:.0%}"
        found[name] = _summary(decisions)
        say(f"{name}: {json.dumps(found[name])}")
    target = f"{TARGET_GAIN:.0%}"
    return {
        "pairs": pairs,
        "users": users,
        "platforms": platforms,
        "seed noise (relative sd)": rules.other_noise,
        "level of the first test": level(rules.alpha, 1),
        "promoted": found,
        "targets": {
            "same": {"at most": MAX_FALSE, "kept": found["same"]["share"] <= MAX_FALSE},
            **(
                {target: {"at least": MIN_FOUND, "kept": found[target]["share"] >= MIN_FOUND}}
                if target in found
                else {}
            ),
        },
    }


def rows(figures: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """(what, target, seen, met) of each figure that has a target."""
    told = []
    for name, target in figures["targets"].items():
        found = figures["promoted"][name]
        what = "A/A pairs promoted" if name == "same" else f"pairs {name} better promoted"
        limit = f"<= {target['at most']:.0%}" if "at most" in target else f">= {target['at least']:.0%}"
        low, high = found["interval"]
        seen = f"{found['share']:.1%} [{low:.1%}, {high:.1%}] of {figures['pairs']}"
        told.append((f"gate: {what}", limit, seen, bool(target["kept"])))
    return told


def noise_between_seeds(users: int = 15_600) -> float:
    """Relative standard deviation of NDCG@10 between seeds of the simulated champion."""
    world = simulate_platform(users, seed=_NOISE_PLATFORM)
    fits = [
        per_user_metrics(world, ranker(world, world.tastes.noise, seed))[PRIMARY]
        for seed in range(NOISE_FITS)
    ]
    return seed_noise(fits)


def trainings(data: Path, kind: str = "als", seeds: int = 10, say: Say = lambda _: None) -> dict[str, Any]:
    """Real trainings of one recipe that differ in their seed, on KuaiRand-late's known days up to the inner cut, judged
    on the days up to the cut: the benchmark's test rows are not looked at.

    `noise` is what `Rules.seed_noise` should hold for the kind. Of all ordered pairs of trainings the gate would
    promote the shares `promoted with noise` and `promoted without`; users alone would explain the level of the test.
    """
    from ml.bench.late_data import LAST_INNER_DAY, LAST_KNOWN_DAY, Late, Tables
    from ml.config import TrainConfig
    from ml.evaluate import evaluate
    from ml.fit import fit

    late = Late.of(Tables.read(data), LAST_INNER_DAY, LAST_KNOWN_DAY)
    fits = []
    for seed in range(seeds):
        model = fit(kind, late.known, TrainConfig(seed=seed)).model
        fits.append(evaluate(model, late.users).per_user[PRIMARY])
        say(f"{kind}, seed {seed}: NDCG@10 {fits[-1].mean():.5f}")
    return {"kind": kind, "seeds": seeds, "users": len(late.users.user_ids), **same_recipe(fits)}


def same_recipe(fits: Sequence[NDArray]) -> dict[str, float]:
    """The noise between trainings of one recipe, and what of their ordered pairs wins with and without knowing it."""
    noise, alpha = seed_noise(fits), level(Rules().alpha, 1)
    means = np.asarray([values.mean() for values in fits])
    pairs = list(permutations(fits, 2))

    def wins(told: float) -> float:
        found = [weigh(one, other, alpha=alpha, noise=(told, told)).low > 0 for one, other in pairs]
        return float(np.mean(found))

    return {
        "noise": noise,
        "spread of the means": float(means.std(ddof=1) / means.mean()),
        "promoted with noise": wins(noise),
        "promoted without": wins(0.0),
    }


def _contestant(world: Platform, noise: float, seed: int) -> Contestant:
    """With two slices of users, by how much is known of them, so that slices can hold a challenger back too."""
    per_user = per_user_metrics(world, ranker(world, noise, seed))
    met = world.seen.sum(axis=1)
    slices = {
        "short_history": np.where(met <= np.median(met), per_user[PRIMARY], np.nan),
        "long_history": np.where(met > np.median(met), per_user[PRIMARY], np.nan),
    }
    return Contestant(
        "simulated", _needed(per_user), coverage=1.0, slices=slices, size_mb=1.0, latency_ms=1.0
    )


def _needed(per_user: PerUser) -> PerUser:
    return {name: per_user[name] for name in (PRIMARY, "precision_at_10")}


def _summary(decisions: Sequence[Decision]) -> dict[str, Any]:
    from scipy.stats import binomtest

    promoted = sum(decision.promote for decision in decisions)
    interval = binomtest(promoted, len(decisions)).proportion_ci(0.95)
    gains = [decision.evidence.relative or 0.0 for decision in decisions if decision.evidence]
    return {
        "promoted": promoted,
        "share": promoted / len(decisions),
        "interval": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "mean gain seen": round(float(np.mean(gains)), 5),
        "sd of gain seen": round(float(np.std(gains, ddof=1)), 5) if len(gains) > 1 else 0.0,
        "held back by a slice alone": sum(
            bool(d.failed) and all(c.name.startswith("slice") for c in d.failed) for d in decisions
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--data", type=Path, help="folder of KuaiRand-Pure: real trainings instead")
    parser.add_argument("--kind", default="als")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    if options.data:
        print(json.dumps(trainings(options.data, options.kind, options.seeds, say=print), indent=2))
        return
    print(json.dumps(measure(pairs=options.pairs, say=print), indent=2))


if __name__ == "__main__":
    main()
