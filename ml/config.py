"""Hyper-parameters, their defaults and their limits."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from ml.collaborative_config import ALSConfig, HybridConfig, ItemItemConfig
from ml.config_base import Config
from ml.content_config import ContentConfig
from ml.errors import ConfigurationError


class SVDConfig(Config):
    """Biased matrix factorisation; the defaults are the contract's (R5)."""

    n_factors: int = Field(default=100, ge=1)
    n_epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.005, gt=0)
    regularisation: float = Field(default=0.02, ge=0)
    init_std: float = Field(
        default=0.1, ge=0, description="of the normal the factors start from, as in Surprise"
    )


class PopularityConfig(Config):
    half_life_days: float = Field(default=2.0, gt=0, description="a play this old counts half")


class TwoTowerConfig(Config):
    """The contract's 64-d towers with 128-64 hidden layers (R5) and how they are trained.

    The regularisation was chosen on KuaiRand-Pure, on a validation cut inside the training rows: with four known
    videos a user on average, both dropouts decide whether the model beats popularity at all. Measured there again
    once examples were told the past only: nothing that was tried (learning rate, temperature, dropout, half lives,
    weight decay, fading or leaving out old examples) was better beyond the spread between seeds, so it stayed. One
    thread, because two share a step this small badly: on busy cores they spin on each other and take ten times as
    long.
    """

    dim: int = Field(default=64, ge=1)
    hidden: tuple[int, ...] = (128, 64)
    epochs: int = Field(default=6, ge=1)
    batch_size: int = Field(default=1024, ge=2)
    learning_rate: float = Field(default=0.006, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    temperature: float = Field(default=0.1, gt=0)
    history_length: int = Field(default=50, ge=1, description="newest videos a user's vector is pooled from")
    history_half_life_days: float = Field(default=7.0, gt=0)
    uniform_negatives: int = Field(
        default=1024, ge=0, description="drawn from the catalogue, shared by a batch"
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="of the towers' inputs")
    user_id_dropout: float = Field(
        default=0.9, ge=0, le=1, description="share of users trained on as strangers"
    )
    popularity_half_life_days: float = Field(default=2.0, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1, description="CPU threads; fixed, because the result depends on it")


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
