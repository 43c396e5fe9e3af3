"""Logs of decisions with their propensities, as off-policy estimation needs them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.errors import ModelError

Floats = NDArray[np.float64]


class InvalidLogError(ModelError):
    """A field of a decision log is missing, of the wrong length or holds values that cannot be; it is named."""


def column(name: str, values: ArrayLike, n: int) -> Floats:
    """`values` as (n,) finite float64. Raises `InvalidLogError` that names the field."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidLogError(f"{name} must be numbers: {error}") from error
    if found.shape != (n,):
        raise InvalidLogError(f"{name} has shape {found.shape}, the log has {n} decisions: it must be ({n},)")
    if not np.isfinite(found).all():
        raise InvalidLogError(f"{name} must be finite, {_first(~np.isfinite(found), found)} is not")
    return found


def _first(wrong: NDArray[np.bool_], values: NDArray) -> str:
    row = int(np.argmax(wrong))
    return f"row {row} = {values[row]}"


def _probabilities(name: str, values: ArrayLike, n: int, *, zero_allowed: bool) -> Floats:
    found = column(name, values, n)
    wrong = (found > 1) | (found < 0 if zero_allowed else found <= 0)
    if wrong.any():
        interval = "[0, 1]" if zero_allowed else "(0, 1]"
        raise InvalidLogError(f"{name} must lie in {interval}, {_first(wrong, found)} does not")
    return found


@dataclass(frozen=True, eq=False)
class LoggedDecisions:
    """One row per decision of the logging policy; every field is (n,), n >= 1.

    `user_ids`: whose decision it was, strings or whole numbers (the cluster of the intervals).
    `propensities` in (0, 1]: probability with which the logging policy took the logged action in its context.
    `target_probabilities` in [0, 1]: that of the target policy for the same action in the same context.
    `rewards`: finite, any unit.
    `supported_mass` in [0, 1], if known: the target policy's probability in this context of all the actions the
    logging policy could have taken. Without it support is estimated by the mean weight, which expects the same.
    `contexts`, `actions`: (n, ...), only handed on to a reward model that is a function.
    Raises `InvalidLogError`, which names the field.
    """

    user_ids: NDArray
    propensities: Floats
    target_probabilities: Floats
    rewards: Floats
    supported_mass: Floats | None = None
    contexts: NDArray | None = None
    actions: NDArray | None = None

    def __post_init__(self) -> None:
        user_ids = np.asarray(self.user_ids)
        if user_ids.ndim != 1:
            raise InvalidLogError(f"user_ids must be one column, it has shape {user_ids.shape}")
        n = len(user_ids)
        if n == 0:
            raise InvalidLogError("user_ids is empty: a log needs at least one decision")
        if user_ids.dtype == object and all(isinstance(user, str) for user in user_ids):
            user_ids = user_ids.astype(str)
        if user_ids.dtype.kind not in "iuUS":
            raise InvalidLogError(f"user_ids must be strings or whole numbers, not {user_ids.dtype}")
        checked: dict[str, NDArray] = {
            "user_ids": user_ids,
            "propensities": _probabilities("propensities", self.propensities, n, zero_allowed=False),
            "target_probabilities": _probabilities(
                "target_probabilities", self.target_probabilities, n, zero_allowed=True
            ),
            "rewards": column("rewards", self.rewards, n),
        }
        if self.supported_mass is not None:
            checked["supported_mass"] = _probabilities(
                "supported_mass", self.supported_mass, n, zero_allowed=True
            )
        for name in ("contexts", "actions"):
            handed_on = getattr(self, name)
            if handed_on is None:
                continue
            checked[name] = np.asarray(handed_on)
            if checked[name].shape[:1] != (n,):
                raise InvalidLogError(f"{name} has shape {checked[name].shape}, the log has {n} decisions")
        for name, values in checked.items():
            object.__setattr__(self, name, values)
        if not np.isfinite(self.weights).all():
            wrong = _first(~np.isfinite(self.weights), self.propensities)
            raise InvalidLogError(f"propensities too small to divide by: {wrong}")

    @classmethod
    def from_rankings(
        cls,
        user_ids: ArrayLike,
        propensities: ArrayLike,
        target_probabilities: ArrayLike,
        rewards: ArrayLike,
        *,
        shown: ArrayLike | None = None,
    ) -> Self:
        """Each shown item of each list as one decision: `user_ids` (s,), the others (s, k), `shown` (s, k) bool.

        `propensities[i, p]`: probability that the logging policy puts this item at position p, and the same of
        the target policy. Where `shown` is False (short lists, items never scrolled to) the rest is not read.
        The item-position model is assumed (Li et al. 2018, "Offline evaluation of ranking policies with click
        models"): an item's reward depends on its context, itself and its position, not on its neighbours in the
        list, and not by whether positions are reached. The estimated value is the mean reward per shown item;
        items of one list are dependent, which clusters by user allow for.
        """
        users = np.asarray(user_ids)
        mask = np.ones(np.shape(rewards), dtype=np.bool_) if shown is None else np.asarray(shown)
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise InvalidLogError(
                f"shown and rewards must be (lists, positions), shown of booleans: {mask.shape}"
            )
        flat = {}
        for name, values in (
            ("propensities", propensities),
            ("target_probabilities", target_probabilities),
            ("rewards", rewards),
        ):
            if np.shape(values) != mask.shape:
                raise InvalidLogError(f"{name} has shape {np.shape(values)}, the lists have {mask.shape}")
            flat[name] = np.asarray(values)[mask]
        if users.shape != mask.shape[:1]:
            raise InvalidLogError(f"user_ids has shape {users.shape}, there are {len(mask)} lists")
        return cls(user_ids=np.repeat(users, mask.sum(axis=1)), **flat)

    def __len__(self) -> int:
        return len(self.user_ids)

    @cached_property
    def weights(self) -> Floats:
        """Importance weights target / propensity (n,), >= 0; their mean expects 1 under full support."""
        with np.errstate(over="ignore"):  # an infinite weight is refused by name on construction
            return self.target_probabilities / self.propensities

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """Rows' users as numbers 0..n_users-1, (n,)."""
        return np.unique(self.user_ids, return_inverse=True)[1]

    @cached_property
    def n_users(self) -> int:
        return int(self.clusters.max()) + 1
