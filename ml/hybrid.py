"""The hybrid: a blend of other kinds' models whose weights are learned on what users did after those were fitted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.blend import BlendModel, Mixture
from ml.blend_examples import OF_NEW, BlendExamples, Terms
from ml.blend_weights import learned_weights
from ml.collaborative_config import HybridConfig
from ml.dataset import Interactions, Known, Watched
from ml.ids import Ids
from ml.recommender import Recommender
from ml.video_signals import names, newness, recent, video_signals

CONTENT = "content"

# What the weights are before anything was learned, and are drawn towards: parts alike, and what is met these days.
_PRIOR_OF_PARTS, _PRIOR_OF_RECENT = 1.0, 0.5


def learn(
    parts: Mapping[str, Recommender],
    known: Known,
    validation: Interactions,
    watched: Watched,
    config: HybridConfig,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Weights of `parts` (fitted on `known`) and of the `video_signals`, by what users did later: JSON for `assemble`.

    Maximises the likelihood of the positives of `validation` with videos new to the user among the user's `candidates`
    best (a listwise softmax: Cao et al. 2007, "Learning to rank"), which start from weights that were learned the
    same way on the whole catalogue; for users as they are known and, for a share of
    them, as if nothing were known of them. Parts' weights are not negative. With no such positive the weights are
    the prior's. `watched` may hold later meetings: those after `known.as_of_ms` are passed over.
    """
    signals = names(config.half_lives_days)
    terms = Terms(tuple(parts), CONTENT if CONTENT in parts else "", signals)
    prior = np.zeros(len(terms), dtype=np.float64)
    prior[: len(parts)] = _PRIOR_OF_PARTS / len(parts)
    prior[terms.personal + signals.index(recent(_middle(config)))] = _PRIOR_OF_RECENT
    learned = _as_json(terms, prior, prior, 0)
    for step in range(1 + config.rounds):
        model = assemble(parts, learned, known, config)
        examples = BlendExamples.of(model, terms, known, validation, watched, config, seed, sampled=step == 0)
        of_known, of_strangers = learned_weights(examples, prior, config.regularisation)
        learned = _as_json(terms, of_known, of_strangers, examples.users)
    return learned


def assemble(
    parts: Mapping[str, Recommender], learned: Mapping[str, Any], known: Known, config: HybridConfig
) -> BlendModel:
    """The blend of `parts` (fitted on `known`) with weights that `learn` found, perhaps on fewer rows."""
    video_ids = next(iter(parts.values())).video_ids
    signals = video_signals(known, video_ids, config.half_lives_days)

    def mixture(weights: Mapping[str, float]) -> Mixture:
        bias = sum(np.float32(weights[name]) * values for name, values in signals.items())
        return Mixture(
            weights={name: float(weights[name]) for name in parts},
            video_bias=np.asarray(bias, dtype=np.float32),
            of_new=float(weights.get(OF_NEW, 0)),
        )

    user_ids, watches = _watches(known)
    return BlendModel(
        kind="hybrid",
        parts=dict(parts),
        user_ids=user_ids,
        watches=watches,
        of_known=mixture(learned["weights"]),
        of_strangers=mixture(learned["stranger_weights"]),
        history_scale=config.history_scale,
        newness=newness(signals, config.new_scale),
        content=CONTENT if CONTENT in parts else "",
        info={"learned": dict(learned)},
    )


def _watches(known: Known) -> tuple[Ids, NDArray[np.float32]]:
    """Everybody with an interaction that has a weight, and how many each has."""
    rows = known.interactions
    user_ids, counts = np.unique(rows.user_ids[rows.weights > 0], return_counts=True)
    return user_ids, counts.astype(np.float32)


def _middle(config: HybridConfig) -> float:
    return sorted(config.half_lives_days)[len(config.half_lives_days) // 2]


def _as_json(terms: "Terms", of_known: NDArray, of_strangers: NDArray, users: int) -> dict[str, Any]:
    """`weights` and `stranger_weights` by name, parts and signals alike, and of how many users they were learned."""

    def named(values: NDArray) -> dict[str, float]:
        return {name: round(float(value), 6) for name, value in zip(terms.names, values, strict=True)}

    return {"weights": named(of_known), "stranger_weights": named(of_strangers), "users": users}
