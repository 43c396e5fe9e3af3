"""Train one kind of model and judge several, from a training-set folder: what Dagster and `dvc repro` both call."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ml.config import TrainConfig
from ml.dataset import Catalogue, Interactions
from ml.errors import UnknownKindError
from ml.factors import KINDS
from ml.files import replaced, write_json
from ml.fitting import Fitted, Progress
from ml.judgement import Judgement, judge
from ml.split import Split, time_split
from ml.training_set import TrainingSet

__all__ = ["KINDS", "Judgement", "TrainingReport", "fit", "judge", "train"]

HOLDOUT, FULL = "holdout", "full"

TrainProgress = Callable[[str, int, int, float], None]
"""Called after each epoch with (phase: 'holdout' or 'full', epoch from 1, epochs in all, mean loss)."""


@dataclass(frozen=True)
class TrainingReport:
    """How a training went, as in `report.json`.

    `params` are what decides the result; `counts` describe the rows; `curves` hold the loss per epoch and
    `seconds` the time of each phase ('holdout', 'full').
    """

    kind: str
    params: dict[str, Any]
    counts: dict[str, int]
    cut_ms: int
    training_set_sha256: str
    curves: dict[str, list[float]]
    seconds: dict[str, float]
    versions: dict[str, str]


def fit(
    kind: str,
    interactions: Interactions,
    catalogue: Catalogue,
    config: TrainConfig,
    progress: Progress | None = None,
) -> Fitted:
    """Fit one kind on these rows. torch is imported for the two-tower only."""
    if kind == "svd":
        from ml import svd

        return svd.fit(interactions, catalogue, config.svd, seed=config.seed, progress=progress)
    if kind == "two-tower":
        from ml import two_tower

        return two_tower.fit(interactions, catalogue, config.two_tower, seed=config.seed, progress=progress)
    if kind == "popularity":
        from ml import popularity

        return popularity.fit(interactions, catalogue, config.popularity, seed=config.seed, progress=progress)
    raise UnknownKindError(f"kind {kind!r}: must be one of {', '.join(KINDS)}")


def train(
    kind: str,
    training_set_dir: Path,
    out_dir: Path,
    *,
    config: TrainConfig | Mapping[str, Any] | None = None,
    progress: TrainProgress | None = None,
) -> TrainingReport:
    """Write `out_dir/holdout` (trained on the rows known at the cut: what is judged), `out_dir/full` (on all rows:
    what is served) and `out_dir/report.json`, all of them or nothing.

    Each folder is a `FactorModel`; torch models add `weights.npz`. Raises `TrainingSetError`, `UnknownKindError`,
    `ConfigurationError` or `DivergedError`; what `out_dir` held before then stays.
    """
    settings = TrainConfig.of(config)
    if kind not in KINDS:
        raise UnknownKindError(f"kind {kind!r}: must be one of {', '.join(KINDS)}")
    data = TrainingSet.load(training_set_dir)
    split = time_split(data.interactions, settings.test_fraction)
    params = parameters(kind, settings)
    curves: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    with replaced(Path(out_dir)) as fresh:
        for phase, rows in ((HOLDOUT, split.train), (FULL, data.interactions)):
            started = time.perf_counter()
            fitted = fit(kind, rows, data.catalogue, settings, partial(progress, phase) if progress else None)
            seconds[phase] = round(time.perf_counter() - started, 3)
            curves[phase] = fitted.curve
            info = {
                "phase": phase,
                "params": params,
                "rows": len(rows),
                "positives": int(rows.positives.sum()),
                "newest_ms": int(rows.started_at_ms.max()),
                "cut_ms": split.cut_ms if phase == HOLDOUT else None,
                "training_set_sha256": data.sha256,
            }
            replace(fitted.model, info=info).save(fresh / phase)
            if fitted.weights:
                np.savez(fresh / phase / "weights.npz", allow_pickle=False, **fitted.weights)
        report = TrainingReport(
            kind=kind,
            params=params,
            counts=_counts(data, split),
            cut_ms=split.cut_ms,
            training_set_sha256=data.sha256,
            curves=curves,
            seconds=seconds,
            versions=_versions(kind),
        )
        write_json(fresh / "report.json", asdict(report))
    return report


def parameters(kind: str, config: TrainConfig) -> dict[str, Any]:
    """The settings that decide this kind's result, flat, as an experiment tracker wants them."""
    own = getattr(config, kind.replace("-", "_"))
    return {"test_fraction": config.test_fraction, "seed": config.seed, **own.model_dump(mode="json")}


def _counts(data: TrainingSet, split: Split) -> dict[str, int]:
    rows = data.interactions
    return {
        "rows": len(rows),
        "positives": int(rows.positives.sum()),
        "users": len(np.unique(rows.user_ids)),
        "videos": len(np.unique(rows.video_ids)),
        "catalogue": len(data.catalogue),
        "train_rows": len(split.train),
        "test_rows": len(split.test),
        "straddling_rows": split.straddling,
        "met_pairs": len(data.watched.user_ids),
    }


def _versions(kind: str) -> dict[str, str]:
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    if kind == "two-tower":
        import torch

        versions["torch"] = str(torch.__version__)
    return versions


if __name__ == "__main__":
    from ml.cli import main

    raise SystemExit(main())
