"""What the endpoint takes and answers. Requests are validated by these; answers are only described by them, since
they are assembled from ready-made JSON (a test holds every answer against its schema)."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def whole(value: object) -> object:
    """JSON knows one kind of number: 20.0 is as whole as 20."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Printable: a NUL or a line break in an id is never meant, and would be cut off or split further down.
Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
UserId = Annotated[Id, Field(description="id of the viewer", examples=["0"])]
VideoId = Annotated[Id, Field(description="id of a video", examples=["1042"])]
# The bounds first: they are described only where they follow the type.
Limit = Annotated[int, Field(ge=1, le=100, description="how many items"), BeforeValidator(whole)]
Offset = Annotated[
    int, Field(ge=0, le=100_000, description="how many items of the list to skip"), BeforeValidator(whole)
]


Explain = Annotated[
    bool, Field(description="say of each item where it came from, and of the list what made it")
]
ExperimentId = Annotated[
    str,
    Field(
        max_length=128,
        pattern=r"^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$",
        description="for testers: answer as for this `experiment` or `experiment:variant`",
        examples=["calmer-feed:treatment"],
    ),
]


class Paged(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Limit = 10
    offset: Offset = 0
    explain: Explain = False


class FeedRequest(Paged):
    user_id: UserId
    limit: Limit = 20
    experiment_id: ExperimentId | None = None


class FeedBody(FeedRequest):
    """The same as JSON, where types count: no "10" and no `true` for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class InferenceRequest(Paged):
    model_config = ConfigDict(extra="forbid", strict=True)

    user_id: UserId


class RecsRequest(Paged):
    type: Literal["feed", "trending", "two-tower", "svd", "als", "item-item", "content", "hybrid"] = Field(
        "feed", description="whose list"
    )
    experiment_id: ExperimentId | None = None


class SimilarRequest(Paged):
    pass


class NextRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Limit = 10


class Model(BaseModel):
    """The model that ranked; `version` is that of the registered model `recommender`, null if not registered."""

    kind: str = Field(examples=["two-tower"])
    version: int | None = Field(examples=[4])


class Why(BaseModel):
    """Where an item came from, with what probability it stands where it stands, and what its score is made of."""

    source: str = Field(examples=["two-tower"])
    propensity: float = Field(gt=0, le=1)
    parts: dict[str, float] = Field(examples=[{"model": 0.61, "session": 0.22, "intent": 0.15}])


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
    explain: Why | None = Field(None, description="with `explain=true`")


class Lineage(BaseModel):
    """What a list was made with, back to its cause."""

    bundle: str
    bundle_created_at: str
    model: str
    version: int | None
    mlflow_run_id: str | None
    training_set: str | None
    dagster_run_id: str | None
    code: str


class Answer(BaseModel):
    """Fields of every list. `bundle` names what it was answered from."""

    request_id: str
    bundle: str = Field(examples=["5d0c1a2b3c4d5e6f"])
    model: Model
    degraded: bool
    degraded_because: list[str]
    variants: dict[str, str] = Field(
        description="experiment -> variant", examples=[{"calmer-feed": "control"}]
    )
    cached: bool
    limit: int
    offset: int
    lineage: Lineage | None = Field(None, description="with `explain=true`")
    items: list[Item]


class FeedAnswer(Answer):
    """`source`: `personal`; `session` for somebody known from this session alone; `trending` for a user nobody knows;
    `mixed` where trending fills up a short list."""

    user_id: str
    source: Literal["personal", "session", "trending", "mixed"]


class SimilarAnswer(Answer):
    video_id: str
    source: Literal["similar"]


class NextAnswer(Answer):
    """`video_id` is the one that plays now."""

    user_id: str
    video_id: str
    source: Literal["next"]


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
    code_differs: str | None = Field(
        description="how the bundle's code differs from the endpoint's; null if it is the same"
    )
    opt_out: str = Field(description="version of the list of erased users that is in force")
    recent_items: Literal["ok", "unavailable"]
