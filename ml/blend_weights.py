"""Fits the hybrid's weights: a regularised listwise softmax with bounds."""

import numpy as np
from numpy.typing import NDArray

from ml.blend_examples import BlendExamples

_STEPS = 200
_LEAST_SPREAD = 0.25


def learned_weights(
    examples: BlendExamples, prior: NDArray[np.float64], regularisation: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (terms,) for users with a long past and for strangers; a user in between is scored by both, by `t`.

    Minimises the mean over users of -log softmax(t x.a + (1 - t) x.b)[what the user liked], plus regularisation / n *
    |a - prior|^2 + |b - prior|^2 with every term in units of its standard deviation: as if `regularisation` users had
    said the prior is right. Weights of parts are at least 0: a model that ranks worse than chance is left out, not
    turned around. A user's choices count together as the root of their number. Without examples: the prior, twice.
    """
    n = len(examples.t)
    if not n:
        return prior.copy(), prior.copy()
    from scipy.optimize import minimize

    spread = _spread(examples)
    values = examples.values / spread.astype(np.float32)
    scaled_prior = np.concatenate([prior, prior]) * np.tile(spread, 2)
    t = examples.t.astype(np.float64)
    share = examples.chosen / np.sqrt(examples.chosen.sum(axis=1, keepdims=True))
    share = (share / share.sum()).astype(np.float32)
    per_user = share.sum(axis=1).astype(np.float64)
    chosen_values = np.einsum("nk,nkf->nf", share, values).astype(np.float64)
    strength = regularisation / n

    def loss(both: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        of_known, of_strangers = np.split(both, 2)
        of_user = t[:, None] * of_known + (1 - t)[:, None] * of_strangers
        scores = np.einsum("nkf,nf->nk", values, of_user.astype(np.float32))
        scores += examples.log_counts
        scores -= scores.max(axis=1, keepdims=True)
        likely = np.exp(scores)
        total = likely.sum(axis=1, keepdims=True)
        expected = np.einsum("nk,nkf->nf", likely / total, values).astype(np.float64)
        log_likely = np.where(examples.chosen, scores - np.log(total), 0)
        gradient = per_user[:, None] * expected - chosen_values
        away = both - scaled_prior
        value = -float((share * log_likely).sum(dtype=np.float64)) + strength * float(away @ away)
        slope = np.concatenate([t @ gradient, (1 - t) @ gradient]) + 2 * strength * away
        return value, slope

    terms = examples.terms
    bounds = ([(0.0, None)] * terms.personal + [(None, None)] * len(terms.signals)) * 2
    found = minimize(
        loss, scaled_prior, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS}
    )
    of_known, of_strangers = np.split(found.x, 2)
    return of_known / spread, of_strangers / spread


def _spread(examples: BlendExamples) -> NDArray[np.float64]:
    """Standard deviation of each term over the candidates, (terms,), at least `_LEAST_SPREAD`: what hardly varies among
    them must not get a weight that decides about the videos where it does."""
    there = examples.values[np.isfinite(examples.log_counts)]
    return np.maximum(there.std(axis=0, dtype=np.float64), _LEAST_SPREAD)
