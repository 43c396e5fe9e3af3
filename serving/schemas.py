"""What the endpoint takes and answers. Requests are validated by these; answers are only described by them, since
they are assembled from ready-made JSON (a test holds every answer against its schema)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Printable: a NUL or a line break in an id is never meant, and would be cut off or split further down.
Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
UserId = Annotated[Id, Field(description="id of the viewer", examples=["0"])]
VideoId = Annotated[Id, Field(description="id of a video", examples=["1042"])]
Limit = Annotated[int, Field(ge=1, le=100, description="how many items")]
Offset = Annotated[int, Field(ge=0, le=100_000, description="how many items of the list to skip")]


class FeedRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: UserId
    limit: Limit = 20
    offset: Offset = 0


class InferenceRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: UserId
    limit: Limit = 10
    offset: Offset = 0


class Model(BaseModel):
    """The model that ranked; `version` is that of the registered model `recommender`, null if not registered."""

    kind: str = Field(examples=["two-tower"])
    version: int | None = Field(examples=[4])


class Item(BaseModel):
    """A video of a ranked list; `rank` counts from 1 over the whole list, not the page."""

    rank: int
    score: float
    video_id: str
    title: str
    description: str
    category: str | None
    tags: list[str]
    creator_id: str | None
    duration_ms: int | None
    thumbnail_url: str | None
    stream_url: str


class Answer(BaseModel):
    """Fields of every list. `bundle` names what it was answered from."""

    request_id: str
    bundle: str = Field(examples=["5d0c1a2b3c4d5e6f"])
    model: Model
    degraded: bool
    degraded_because: list[str]
    limit: int
    offset: int
    items: list[Item]


class FeedAnswer(Answer):
    """`source`: `personal`; `trending` for a user no model knows; `mixed` where trending fills up a short list."""

    user_id: str
    source: Literal["personal", "trending", "mixed"]


class SimilarAnswer(Answer):
    video_id: str
    source: Literal["similar"]


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldError] | None = None


class Health(BaseModel):
    status: Literal["ok"]


class Refused(BaseModel):
    """A published bundle that is not in service, and why."""

    tag: str
    reason: str


class Ready(BaseModel):
    status: Literal["ready"]
    bundle: str
    champion: str
    models: dict[str, int | None]
    training_set: str | None
    created_at: str
    refused: Refused | None
    opt_out: str = Field(description="version of the list of erased users that is in force")
    recent_items: Literal["ok", "unavailable"]
