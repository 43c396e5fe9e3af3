"""One decision of the endpoint: which items a request was answered with, by what, and how likely each was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Decision:
    """`propensities[i]`: the probability, given the user and the moment, that this route puts `video_ids[i]` at place
    `ranks[i]` (1 where nothing was left to chance), as `ml.off_policy_log` takes it. `sources[i]`: where the item came
    from. `variants`: experiment id -> variant; `forced` if a tester chose it, and such rows are no evidence.
    """

    request_id: str
    user_id: str
    at_ms: int
    route: str
    bundle: str
    kind: str
    version: int | None
    source: str
    ranks: Sequence[int]
    video_ids: Sequence[str]
    scores: Sequence[float]
    propensities: Sequence[float]
    sources: Sequence[str]
    latency_ms: float
    cached: bool = False
    degraded: Sequence[str] = ()
    variants: Mapping[str, str] = field(default_factory=dict)
    forced: bool = False
