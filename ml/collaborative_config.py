"""Hyper-parameters of the models of who watched what, and of their blend."""

from pydantic import Field

from ml.config_base import Config


class ItemItemConfig(Config):
    """EASE (Steck 2019)."""

    regularisation: float = Field(default=500.0, gt=0)
    neighbours: int = Field(default=200, ge=1, description="weights kept of each video")


class ALSConfig(Config):
    """Implicit ALS, 64-d (R5)."""

    n_factors: int = Field(default=64, ge=1)
    regularisation: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=5.0, gt=0)
    n_epochs: int = Field(default=15, ge=1)


class HybridConfig(Config):
    parts: tuple[str, ...] = ("als", "item-item", "content", "popularity", "two-tower")
