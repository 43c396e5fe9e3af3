"""What the steps of the pipeline can be told; what an experiment's variant may change."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field


class PipelineConfig(BaseModel):
    """The defaults are what serves without an experiment. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["champion", "two-tower", "svd", "als", "item-item", "content", "popularity", "hybrid"] = (
        Field("champion", description="whose list it is; the champion's unless a variant says another kind")
    )
    svd_weight: float = Field(0.0, ge=0, le=1, description="of the SVD's normalised score in the blend")
    content_weight: float = Field(0.0, ge=0, le=1, description="of the content score in the blend")
    trending_weight: float = Field(0.0, ge=0, le=1, description="of the trending score in the blend")
    session_share: float = Field(
        0.3, ge=0, le=1, description="R5: of the short-term interest; the rest is long-term"
    )
    intent_boost: float = Field(
        0.15, ge=0, le=1, description="for a category of a video just liked, saved or shared"
    )
    repeat_penalty: float = Field(
        0.1, ge=0, le=1, description="for each recent video of the same creator, fading"
    )
    diversity: float = Field(
        0.2, ge=0, le=1, description="MMR: 0 is by score alone, 1 by novelty in the page alone"
    )
    exploration: float = Field(0.1, ge=0, le=1, description="probability that an exploring place explores")
    explore_every: int = Field(5, ge=2, le=100, description="every n-th place may explore")

    def changed(self, parameters: Mapping[str, Any]) -> Self:
        """With these parameters instead; raises pydantic's `ValidationError` naming the wrong one."""
        return type(self).model_validate({**self.model_dump(), **parameters}) if parameters else self
