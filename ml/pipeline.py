"""Train one kind of model and judge several, from a training-set folder: what Dagster and `dvc repro` both call."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ml.config import TrainConfig
from ml.dataset import Known
from ml.errors import MissingPartError, NothingToJudgeError
from ml.files import replaced, write_json
from ml.fit import HYBRID, check_kind, fit, section
from ml.fitting import Fitted, Validate
from ml.judgement import PRIMARY, Judgement, judge
from ml.phases import FULL, HOLDOUT, VALIDATION, Phases
from ml.recommender import KINDS, Recommender
from ml.saved import load
from ml.split import Split
from ml.training_set import TrainingSet

__all__ = ["FULL", "HOLDOUT", "KINDS", "VALIDATION", "Judgement", "TrainingReport", "fit", "judge", "train"]

LOOKED_AT_USERS = 10_000
"""Validation users that early stopping looks at, after every epoch: a sample when there are more."""

REPORT_FILE = "report.json"

TrainProgress = Callable[[str, int, int, float], None]
"""Called after each epoch with (phase: 'validation', 'holdout' or 'full', epoch from 1, epochs in all, mean loss)."""

_LIBRARIES = {
    "svd": ("numba",),
    "als": ("implicit", "scipy"),
    "item-item": ("scipy",),
    "content": ("scikit-learn",),
    "two-tower": ("torch",),
}


@dataclass(frozen=True)
class TrainingReport:
    """How a training went, as in `report.json`.

    `params` are what decides the result; `found` is what was chosen on the validation rows (epochs, a blend's weights);
    `counts` describe the rows; `curves` hold the loss per epoch and `seconds` the time of each phase.
    """

    kind: str
    params: dict[str, Any]
    found: dict[str, Any]
    counts: dict[str, int]
    cut_ms: int
    training_set_sha256: str
    curves: dict[str, list[float]]
    seconds: dict[str, float]
    versions: dict[str, str]


def train(
    kind: str,
    training_set_dir: Path,
    out_dir: Path,
    *,
    config: TrainConfig | Mapping[str, Any] | None = None,
    progress: TrainProgress | None = None,
    parts: Mapping[str, Path] | None = None,
) -> TrainingReport:
    """Write `out_dir/validation` (trained on the rows known at an inner cut: what choices are made with),
    `out_dir/holdout` (at the cut: what is judged), `out_dir/full` (on all rows: what is served) and
    `out_dir/report.json`, all of them or nothing.

    A hybrid is made of other kinds' folders that this function wrote, `parts` (kind -> folder). A two-tower that was
    killed goes on from its last checkpoint. Raises `TrainingSetError`, `UnknownKindError`, `ConfigurationError`,
    `MissingPartError` or `DivergedError`; what `out_dir` held before then stays.
    """
    settings = TrainConfig.of(config)
    check_kind(kind)
    data = TrainingSet.load(training_set_dir)
    phases = Phases.of(data, settings.test_fraction, settings.validation_fraction)
    params = parameters(kind, settings)
    curves: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    found: dict[str, Any] = {}
    with replaced(Path(out_dir)) as fresh, _checkpoints(Path(out_dir)) as checkpoints:
        for phase, known in phases:
            started = time.perf_counter()
            if kind == HYBRID:
                fitted = _blend(parts or {}, phase, known, phases, settings, found)
            else:
                fitted = fit(
                    kind,
                    known,
                    _with(settings, kind, found),
                    progress=partial(progress, phase) if progress else None,
                    validate=_on_validation_rows(phases, settings.seed) if phase == VALIDATION else None,
                    checkpoint=checkpoints / phase,
                )
            found |= fitted.found
            seconds[phase] = round(time.perf_counter() - started, 3)
            curves[phase] = fitted.curve
            info = _info(phase, known, params, phases.outer, data.sha256)
            replace(fitted.model, info=info).save(fresh / phase)  # type: ignore[type-var]
            if fitted.weights:
                np.savez(fresh / phase / "weights.npz", allow_pickle=False, **fitted.weights)
        report = TrainingReport(
            kind=kind,
            params=params,
            found=found,
            counts=_counts(data, phases),
            cut_ms=phases.outer.cut_ms,
            training_set_sha256=data.sha256,
            curves=curves,
            seconds=seconds,
            versions=_versions(kind),
        )
        write_json(fresh / REPORT_FILE, asdict(report))
    return report


def _blend(
    folders: Mapping[str, Path],
    phase: str,
    known: Known,
    phases: Phases,
    settings: TrainConfig,
    learned: Mapping[str, Any],
) -> Fitted:
    """The hybrid of one phase from the parts' models of that phase; its weights are learned in the first."""
    from ml import hybrid

    missing = [kind for kind in settings.hybrid.parts if kind not in folders]
    if missing:
        raise MissingPartError(
            f"hybrid: needs a trained {', '.join(missing)} (given: {', '.join(folders) or 'none'})"
        )
    parts = {kind: load(Path(folders[kind]) / phase) for kind in settings.hybrid.parts}
    for kind, part in parts.items():
        if part.info.get("cut_ms") != known.as_of_ms and phase != FULL:
            raise MissingPartError(f"hybrid: the {kind} model was trained with another cut: train it again")
    if phase == VALIDATION:
        learned = hybrid.learn(
            parts,
            known,
            phases.validation_rows,
            phases.holdout.watched,
            settings.hybrid,
            seed=settings.seed,
        )
    return Fitted(hybrid.assemble(parts, learned, known, settings.hybrid), found=learned)


def _on_validation_rows(phases: Phases, seed: int) -> Validate | None:
    """The primary metric on the rows between the inner cut and the cut; None if nobody found anything new there."""
    from ml.evaluate import evaluate

    try:
        users = phases.validation_users().some(LOOKED_AT_USERS, seed)
    except NothingToJudgeError:
        return None

    def validate(model: Recommender) -> float:
        return float(evaluate(model, users).per_user[PRIMARY].mean())

    return validate


def _with(settings: TrainConfig, kind: str, found: Mapping[str, Any]) -> TrainConfig:
    """The settings with what the validation phase found out."""
    name = section(kind)
    return settings.model_copy(update={name: getattr(settings, name).model_copy(update=dict(found))})


@contextmanager
def _checkpoints(out_dir: Path) -> Iterator[Path]:
    """Where an interrupted training goes on from; gone when one has come to its end."""
    import shutil

    folder = out_dir.parent / f".{out_dir.name}.checkpoints"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _info(phase: str, known: Known, params: Mapping[str, Any], outer: Split, sha256: str) -> dict[str, Any]:
    rows = known.interactions
    return {
        "phase": phase,
        "params": dict(params),
        "rows": len(rows),
        "positives": int(rows.positives.sum()),
        "newest_ms": int(rows.started_at_ms.max()),
        "cut_ms": known.as_of_ms if phase != FULL else None,
        "training_set_sha256": sha256,
    }


def parameters(kind: str, config: TrainConfig) -> dict[str, Any]:
    """The settings that decide this kind's result, flat, as an experiment tracker wants them."""
    own = getattr(config, section(kind))
    general = {name: getattr(config, name) for name in ("test_fraction", "validation_fraction", "seed")}
    return {**general, **own.model_dump(mode="json")}


def _counts(data: TrainingSet, phases: Phases) -> dict[str, int]:
    rows = data.interactions
    return {
        "rows": len(rows),
        "positives": int(rows.positives.sum()),
        "users": len(np.unique(rows.user_ids)),
        "videos": len(np.unique(rows.video_ids)),
        "catalogue": len(data.catalogue),
        "profiles": len(data.people),
        "train_rows": len(phases.outer.train),
        "validation_rows": len(phases.inner.test),
        "test_rows": len(phases.outer.test),
        "straddling_rows": phases.outer.straddling,
        "met_pairs": len(data.watched.user_ids),
    }


def _versions(kind: str) -> dict[str, str]:
    own = {name: version(name) for name in _LIBRARIES.get(kind, ())}
    return {"python": platform.python_version(), "numpy": np.__version__, **own}


if __name__ == "__main__":
    from ml.cli import main

    raise SystemExit(main())
