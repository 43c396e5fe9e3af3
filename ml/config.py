"""Hyper-parameters, their defaults and their limits."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError

from ml.collaborative_config import ALSConfig, HybridConfig, ItemItemConfig
from ml.config_base import Config
from ml.content_config import ContentConfig, PopularityConfig
from ml.errors import ConfigurationError
from ml.two_tower_config import TwoTowerConfig


class SVDConfig(Config):
    """Biased matrix factorisation; the defaults are the contract's (R5)."""

    n_factors: int = Field(default=100, ge=1)
    n_epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.005, gt=0)
    regularisation: float = Field(default=0.02, ge=0)
    init_std: float = Field(
        default=0.1, ge=0, description="of the normal the factors start from, as in Surprise"
    )


class TrainConfig(Config):
    """Everything that decides a training's result, besides the data."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    validation_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="of the rows before the cut: what choices are made on"
    )
    seed: int = Field(default=0, ge=0)
    svd: SVDConfig = SVDConfig()
    two_tower: TwoTowerConfig = TwoTowerConfig()
    popularity: PopularityConfig = PopularityConfig()
    als: ALSConfig = ALSConfig()
    item_item: ItemItemConfig = ItemItemConfig()
    content: ContentConfig = ContentConfig()
    hybrid: HybridConfig = HybridConfig()

    @classmethod
    def of(cls, config: "TrainConfig | Mapping[str, Any] | None") -> Self:
        """From what a caller gave: itself, a mapping of some of its fields, or nothing for the defaults."""
        if isinstance(config, cls):
            return config
        try:
            return cls.model_validate(dict(config) if isinstance(config, Mapping) else {})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ConfigurationError(f"{place}: {first['msg']} (got {first['input']!r})") from error
