"""Fits any kind of model on what is known; each kind's own module is imported only when it is fitted."""

from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.config import TrainConfig
from ml.dataset import Known
from ml.errors import UnknownKindError
from ml.fitting import Fitted, Progress, Validate
from ml.recommender import KINDS, Recommender
from ml.split import time_split

HYBRID = "hybrid"


def check_kind(kind: str) -> str:
    """The kind; raises `UnknownKindError`."""
    if kind not in KINDS:
        raise UnknownKindError(f"kind {kind!r}: must be one of {', '.join(KINDS)}")
    return kind


def section(kind: str) -> str:
    """The name of this kind's module and of its settings in `TrainConfig`."""
    return kind.replace("-", "_")


def fit(
    kind: str,
    known: Known,
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Fit one kind. `validate` is for kinds that stop early, `checkpoint` (a folder) for those that can be resumed;
    the others pass them over. A hybrid fits its own parts; raises what the kind's fit raises."""
    check_kind(kind)
    if kind == HYBRID:
        return _fit_hybrid_and_parts(known, config, progress)
    fit_kind = import_module(f"ml.{section(kind)}").fit
    own = getattr(config, section(kind))
    if kind == "two-tower":
        return fit_kind(
            known,
            own,
            seed=config.seed,
            progress=progress,
            validate=validate,
            checkpoint=checkpoint,
            content=_content_vectors(known, config) if own.content_vectors else None,
        )
    return fit_kind(known, own, seed=config.seed, progress=progress)


def _content_vectors(known: Known, config: TrainConfig) -> NDArray[np.float32]:
    from ml.content import embeddings

    return embeddings(known.catalogue, config.content)


def _fit_hybrid_and_parts(known: Known, config: TrainConfig, progress: Progress | None) -> Fitted:
    """Learn the weights on the newest part of the rows, from parts fitted before it; then fit the parts on all rows."""
    from ml import hybrid

    kinds = config.hybrid.parts
    inner = time_split(known.interactions, config.validation_fraction)
    before = Known.of(inner.train, known.catalogue, known.people, known.watched, inner.cut_ms)
    steps = 2 * len(kinds)

    def fitted(rows: Known, first: int) -> dict[str, Recommender]:
        models = {}
        for place, kind in enumerate(kinds, first + 1):
            models[kind] = fit(kind, rows, config).model
            if progress:
                progress(place, steps, 0.0)
        return models

    learned = hybrid.learn(
        fitted(before, 0), before, inner.test, known.watched, config.hybrid, seed=config.seed
    )
    parts = fitted(known, len(kinds))
    return Fitted(hybrid.assemble(parts, learned, known, config.hybrid), found=learned)
