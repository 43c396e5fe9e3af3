"""What the demo page asks for beside the API that everybody uses."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DemoUsersRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(12, ge=1, le=50, description="how many viewers")


class DemoUser(BaseModel):
    """A viewer to try a feed with. `mostly`: the category most of the videos they met are of."""

    user_id: str = Field(examples=["1042"])
    kind: Literal["heavy", "regular", "light", "new"]
    videos_met: int = Field(ge=0, examples=[128])
    mostly: str | None = Field(examples=["music"])


class DemoLinks(BaseModel):
    """Where people look further, as their browser opens it."""

    dagster: str = Field(examples=["http://127.0.0.1:3000"])
    mlflow: str = Field(examples=["http://127.0.0.1:5000"])


class DemoUsers(BaseModel):
    """Viewers of the bundle in service, of all kinds in turn; the last one has no history."""

    bundle: str = Field(examples=["5d0c1a2b3c4d5e6f"])
    users: list[DemoUser]
    links: DemoLinks | None
