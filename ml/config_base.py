"""What all hyper-parameters share: they cannot be changed, misspelt or infinite."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
