"""Our SVD against Surprise's: the same ratings, seeds and hyper-parameters, each in a process of its own."""

import heapq
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.bench.ratings import Ratings, kuairand, random, structured
from ml.config import SVDConfig
from ml.dataset import Encoded
from ml.factors import FactorModel
from ml.svd import RATING_SCALE, fit, predict_ratings

SEEDS = (0, 1, 2)
K = 10
SAMPLED_USERS = 30
ROUNDS = 5
TIMED_ROWS = 1_000_000  # smaller sets are for the RMSE
RMSE_MARGIN, FIT_TARGET, TOP_K_TARGET = 0.002, 8.0, 100.0

Figures = dict[str, Any]
Seconds = NDArray[np.float64]


def measure(data: Path | None, seeds: Sequence[int] = SEEDS) -> Figures:
    """Both peers on each set of ratings; `data` holds KuaiRand-Pure, None leaves it out.

    `fit` is the median over the seeds. Ours goes from string ids to the finished model; Surprise's is `algo.fit`
    alone, and what it needs before that to number the ids is told apart. `top_k_users_per_second`: ours by asking
    for all users, the median of `ROUNDS`; Surprise's by predicting every video for `SAMPLED_USERS` of them and
    keeping the best, from the median user. Ratios are of wall time; `_cpu` ones say the same on a busy machine.
    Memory is the peak of a process that makes the ratings and fits them (top-k comes later). Compiling is in none
    of these figures: `compile_seconds` has it.
    """
    sets: dict[str, tuple[Callable[[], Ratings], Sequence[int]]] = {
        "structured 1M": (structured, seeds),
        "random 1M": (random, seeds[:1]),
    }
    if data is not None:
        sets["KuaiRand"] = (partial(kuairand, data), seeds)
    return {
        "compile_seconds": compile_seconds(),
        "sets": {
            name: _compared(_alone(ours, make, of), _alone(surprise_s, make, of))
            for name, (make, of) in sets.items()
        },
    }


def ours(make: Callable[[], Ratings], seeds: Sequence[int]) -> Figures:
    """RMSE and seconds of each seed, top-k and memory, of our SVD."""
    import ml.svd_kernel  # noqa: F401  (compiled, or read from its cache, before the clock starts)

    ratings = make()
    known, rmses, times = ratings.known, [], []
    for seed in seeds:
        fitted, took = _timed(partial(fit, known, SVDConfig(), seed=seed))
        times.append(took)
        model = fitted.model
        assert isinstance(model, FactorModel)
        rmses.append(_rmse(predict_ratings(model, ratings.test), ratings))
    peak = _peak_bytes()
    asked = [
        _timed(partial(model.recommend, model.user_ids, K))[1] / len(model.user_ids) for _ in range(ROUNDS)
    ]
    return _figures(rmses, times, asked, peak) | {
        "train_rows": len(ratings.train),
        "test_rows": len(ratings.test),
        "rmse_of_mean": _rmse(np.full(len(ratings.test), ratings.train.ratings.mean()), ratings),
    }


def surprise_s(make: Callable[[], Ratings], seeds: Sequence[int]) -> Figures:
    """The same of Surprise's `SVD`, which visits the ratings user by user, in their order."""
    from surprise import SVD

    ratings = make()
    test, config = ratings.test, SVDConfig()
    trainset, numbering = _timed(partial(_trainset, ratings))
    rmses, times = [], []
    for seed in seeds:
        algorithm = SVD(
            n_factors=config.n_factors,
            n_epochs=config.n_epochs,
            lr_all=config.learning_rate,
            reg_all=config.regularisation,
            init_std_dev=config.init_std,
            random_state=seed,
        )
        times.append(_timed(partial(algorithm.fit, trainset))[1])
        pairs = zip(test.user_ids.tolist(), test.video_ids.tolist(), strict=True)
        rmses.append(_rmse(np.asarray([algorithm.predict(*pair).est for pair in pairs]), ratings))
    peak = _peak_bytes()
    users = [trainset.to_raw_uid(user) for user in trainset.all_users()]
    videos = [trainset.to_raw_iid(video) for video in trainset.all_items()]
    sample = np.random.default_rng(0).choice(users, min(SAMPLED_USERS, len(users)), replace=False).tolist()

    def best_of(user: str) -> list[tuple[float, str]]:
        return heapq.nlargest(K, ((algorithm.predict(user, video).est, video) for video in videos))

    asked = [_timed(partial(best_of, user))[1] for user in sample]
    return _figures(rmses, times, asked, peak) | {"numbering_seconds": float(numbering[0])}


def compile_seconds() -> dict[str, float]:
    """Import of the kernel in a fresh process: the very first time, and when its cache is there; numba's own apart."""
    with tempfile.TemporaryDirectory() as cache:
        return {
            "numba_alone": _seconds_to_import("numba", cache),
            "first": _seconds_to_import("ml.svd_kernel", cache),
            "cached": _seconds_to_import("ml.svd_kernel", cache),
        }


def rows(figures: Figures) -> list[tuple[str, str, str, bool]]:
    """(what, target, seen, met) of each figure that has a target."""
    told = []
    for name, both in figures["sets"].items():
        told.append(_rmse_row(name, both))
        if both["train_rows"] >= TIMED_ROWS:
            seen = f"{both['fit_ratio']:.1f}x ({both['ours']['fit']:.2f} s against {both['surprise']['fit']:.2f} s)"
            told.append((f"SVD fit, {name}", f"{FIT_TARGET:.0f}x", seen, both["fit_ratio"] >= FIT_TARGET))
            mine, theirs = (both[who]["top_k_users_per_second"] for who in ("ours", "surprise"))
            seen = f"{both['top_k_ratio']:.0f}x ({mine:,.0f} users/s against {theirs:.1f})"
            told.append(
                (f"SVD top-{K}, {name}", f"{TOP_K_TARGET:.0f}x", seen, both["top_k_ratio"] >= TOP_K_TARGET)
            )
    return told


def _rmse_row(name: str, both: Figures) -> tuple[str, str, str, bool]:
    difference = both["rmse_difference"]
    seen = f"{difference:+.4f} ({both['ours']['mean_rmse']:.4f} against {both['surprise']['mean_rmse']:.4f})"
    return (f"SVD RMSE, {name}", f"<= +{RMSE_MARGIN}", seen, difference <= RMSE_MARGIN)


def _figures(rmses: list[float], times: list[Seconds], asked: list[Seconds], peak_bytes: int) -> Figures:
    """`times` of each fit, `asked` seconds per user; each (wall, processor)."""
    fit_wall, fit_cpu = np.median(times, axis=0).tolist()
    asked_wall, asked_cpu = np.median(asked, axis=0).tolist()
    return {
        "rmse": rmses,
        "mean_rmse": statistics.fmean(rmses),
        "fit": fit_wall,
        "fit_cpu": fit_cpu,
        "fit_seconds": [float(wall) for wall, _ in times],
        "top_k_users_per_second": 1 / asked_wall,
        "top_k_users_per_cpu_second": 1 / asked_cpu,
        "peak_bytes": peak_bytes,
    }


def _compared(mine: Figures, theirs: Figures) -> Figures:
    top_k, top_k_cpu = "top_k_users_per_second", "top_k_users_per_cpu_second"
    return {
        "train_rows": mine["train_rows"],
        "test_rows": mine["test_rows"],
        "rmse_of_mean": mine["rmse_of_mean"],
        "ours": mine,
        "surprise": theirs,
        "rmse_difference": mine["mean_rmse"] - theirs["mean_rmse"],
        "fit_ratio": theirs["fit"] / mine["fit"],
        "fit_ratio_cpu": theirs["fit_cpu"] / mine["fit_cpu"],
        "top_k_ratio": mine[top_k] / theirs[top_k],
        "top_k_ratio_cpu": mine[top_k_cpu] / theirs[top_k_cpu],
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, Seconds]:
    """What it gives, and the seconds it took: on the wall, and of this process's processors together."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, np.asarray([time.perf_counter() - wall, time.process_time() - cpu])


def _alone(measured: Callable[..., Figures], make: Callable[[], Ratings], seeds: Sequence[int]) -> Figures:
    """In a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, make, seeds).result()


def _rmse(predicted: np.ndarray, ratings: Ratings) -> float:
    return float(np.sqrt(np.mean((predicted - ratings.test.ratings) ** 2, dtype=np.float64)))


def _trainset(ratings: Ratings) -> Any:
    """Surprise's view of the rows. It numbers ids as they come; here they are numbered as ours are, sorted, so that
    with the same seed each user and each video starts from the same factors in both: otherwise two seeds are compared
    (they differ by .004 of RMSE on the generated ratings), not two programs."""
    from surprise import Trainset

    data = Encoded.of(ratings.train, ratings.known.catalogue)
    by_user, by_video = defaultdict(list), defaultdict(list)
    columns = (data.users.tolist(), data.videos.tolist(), ratings.train.ratings.tolist())
    for user, video, rating in zip(*columns, strict=True):
        by_user[user].append((video, rating))
        by_video[video].append((user, rating))
    numbers = (
        {name: row for row, name in enumerate(ids.tolist())} for ids in (data.user_ids, data.video_ids)
    )
    sizes = (len(data.user_ids), len(data.video_ids), len(ratings.train))
    return Trainset(by_user, by_video, *sizes, RATING_SCALE, *numbers)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _seconds_to_import(module: str, cache: str) -> float:
    timed = f"import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    told = subprocess.run(
        [sys.executable, "-c", timed], env=environment, capture_output=True, text=True, check=True
    )
    return float(told.stdout)
