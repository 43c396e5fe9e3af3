"""What a user gets in the running experiments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Assignment:
    """`variants`: experiment id -> variant. `parameters`: what those variants change of `PipelineConfig`, merged.
    `forced`: a tester asked for it by `experiment_id`."""

    variants: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    forced: bool = False


NO_EXPERIMENT = Assignment()
