"""What `/api/v1/recs/experiments` takes and answers."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.schemas import Id


class ExperimentsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: Id | None = Field(None, description="also say what this user gets", examples=["0"])


class VariantAnswer(BaseModel):
    """`parameters`: what it changes of the ranking pipeline; empty for what serves anyway."""

    name: str = Field(examples=["more-diverse"])
    share: float = Field(examples=[0.5])
    parameters: dict[str, Any] = Field(examples=[{"diversity": 0.4}])


class ExperimentAnswer(BaseModel):
    """`running`: users are in it now. `traffic`: share of the users it may have; `slot`: which part of its group's."""

    id: str = Field(examples=["diversity"])
    description: str
    status: Literal["running", "paused", "ended"]
    running: bool
    start: datetime | None
    end: datetime | None
    traffic: float
    group: str | None
    slot: tuple[float, float] | None
    control: str = Field(examples=["today"])
    variants: list[VariantAnswer]


class UserAssignment(BaseModel):
    """Experiment -> variant, and what they change together."""

    user_id: str
    variants: dict[str, str] = Field(examples=[{"diversity": "more-diverse"}])
    parameters: dict[str, Any]


class ExperimentsAnswer(BaseModel):
    """`problem`: why the last change of the declaration is not in force; null if it is."""

    request_id: str
    experiments: list[ExperimentAnswer]
    user: UserAssignment | None = Field(description="null unless `user_id` was given")
    problem: str | None
