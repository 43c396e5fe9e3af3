"""What a user gets in the running experiments: decided by hashes of the id, the same on every machine."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import accumulate
from typing import Any

from serving.experiments.declaration import Declaration, Experiment
from serving.experiments.errors import UnknownExperimentError

_WHOLE = 1 << 64


@dataclass(frozen=True)
class Assignment:
    """`variants`: experiment id -> variant. `parameters`: what those variants change of `PipelineConfig`, merged.
    `forced`: a tester asked for it by `experiment_id`."""

    variants: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    forced: bool = False


NO_EXPERIMENT = Assignment()


class Hash:
    """Points in [0, 2^64), one a user, uniform; those of other purposes or salts are independent.

    BLAKE2b of `purpose NUL salt NUL user` to 8 bytes, big-endian. Ids and salts hold no NUL.
    """

    def __init__(self, purpose: str, salt: str) -> None:
        self._begun = blake2b(f"{purpose}\0{salt}\0".encode(), digest_size=8)

    def of(self, user: bytes) -> int:
        digest = self._begun.copy()
        digest.update(user)
        return int.from_bytes(digest.digest(), "big")


class Split:
    """One experiment, ready to ask. Three points decide: within the group, in the traffic or not, which variant.

    They are independent, so that more traffic takes in new users and moves none between variants.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        salt = experiment.hash_salt
        self._group = Hash("group", experiment.group) if experiment.group else None
        self._slot = tuple(_point(share) for share in experiment.slot or (0.0, 1.0))
        self._in_traffic, self._traffic = Hash("traffic", salt), _point(experiment.traffic)
        self._variant = Hash("variant", salt)
        ends = [_point(end) for end in accumulate(variant.share for variant in experiment.variants)]
        self._ends = ends[:-1]  # the last takes the rest, whatever the shares' rounding leaves
        self._by_name = {variant.name: variant for variant in experiment.variants}

    def takes(self, user: bytes) -> bool:
        """Whether the user is in the experiment."""
        if self._group is not None and not self._slot[0] <= self._group.of(user) < self._slot[1]:
            return False
        return self._traffic == _WHOLE or self._in_traffic.of(user) < self._traffic

    def variant_of(self, user: bytes) -> str:
        """The variant of a user who is in it."""
        return self.experiment.variants[bisect_right(self._ends, self._variant.of(user))].name

    def parameters(self, variant: str) -> Mapping[str, Any]:
        """What a variant changes; raises `KeyError` if it has none of that name."""
        return self._by_name[variant].parameters


class Splits:
    """All experiments of a declaration, ready to ask. Immutable."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self._all = {experiment.id: Split(experiment) for experiment in declaration.experiments}

    def active(self, now: datetime) -> list[Split]:
        """Those that users are in at that moment."""
        return [split for split in self._all.values() if split.experiment.is_active(now)]

    def forced(self, user_id: str, override: str) -> Assignment:
        """What a tester asked for, as `experiment` or `experiment:variant`, and nothing of other experiments.

        Paused experiments and those still to come can be looked at. Raises `UnknownExperimentError`.
        """
        name, colon, variant = override.partition(":")
        split = self._all.get(name)
        if split is None:
            raise UnknownExperimentError(f"no experiment {name}")
        if split.experiment.status == "ended":
            raise UnknownExperimentError(f"experiment {name} has ended")
        chosen = variant if colon else split.variant_of(_bytes(user_id))
        try:
            parameters = split.parameters(chosen)
        except KeyError:
            raise UnknownExperimentError(f"experiment {name} has no variant {chosen}") from None
        return Assignment({name: chosen}, parameters, forced=True)


def assign(splits: Iterable[Split], user_id: str) -> Assignment:
    """What a user gets of these: pure, and the same for ever while the declaration stays."""
    user = _bytes(user_id)
    variants: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    for split in splits:
        if split.takes(user):
            name = split.experiment.id
            variants[name] = split.variant_of(user)
            parameters |= split.parameters(variants[name])
    return Assignment(variants, parameters) if variants else NO_EXPERIMENT


def _point(share: float) -> int:
    return min(round(share * _WHOLE), _WHOLE)


def _bytes(user_id: str) -> bytes:
    """Also of a lone surrogate, which JSON can carry: an odd id is no reason to fail."""
    return user_id.encode("utf-8", "surrogatepass")
