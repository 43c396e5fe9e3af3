"""Hyper-parameters of the content model."""

from pydantic import Field

from ml.config_base import Config


class ContentConfig(Config):
    dim: int = Field(default=64, ge=1)
