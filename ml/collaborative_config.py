"""Hyper-parameters of the models of who watched what, and of their blend."""

from pydantic import Field

from ml.config_base import Config


class ItemItemConfig(Config):
    """EASE (Steck 2019), with the weights of watches and their order.

    Chosen on KuaiRand-late's validation days (see `ml.bench.kuairand_late`). Fitting holds one dense float32 matrix of
    the `max_videos` most watched: 4 * max_videos^2 bytes, 0.23 GB for 7,583 videos, 1.6 GB for the default.
    """

    regularisation: float = Field(default=400.0, gt=0)
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="of inputs, in expectation (EDLAE, Steck 2020): grows with plays"
    )
    neighbours: int = Field(default=500, ge=1, description="weights kept of each video, the largest")
    max_videos: int = Field(default=20_000, ge=1, description="less watched ones have no neighbours")
    weight_power: float = Field(
        default=0.25, ge=0, le=1, description="0: all watches count alike, 1: by their weight"
    )
    half_life_videos: float = Field(
        default=30.0, gt=0, description="a watch that so many later ones followed counts half"
    )


class ALSConfig(Config):
    """Implicit ALS, 64-d (R5)."""

    n_factors: int = Field(default=64, ge=1)
    regularisation: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=5.0, gt=0, description="confidence in a watch = 1 + alpha * weight")
    n_epochs: int = Field(default=15, ge=1)


class HybridConfig(Config):
    """Which models are blended, and how their weights are learned. The settings were chosen on KuaiRand-late's
    validation days."""

    parts: tuple[str, ...] = Field(default=("als", "item-item", "content", "two-tower"), min_length=1)
    half_lives_days: tuple[float, ...] = Field(
        default=(0.5, 2.0, 8.0), min_length=1, description="over which meetings with a video are counted"
    )
    candidates: int = Field(default=200, ge=2, description="of each user, that the weights are learned on")
    max_users: int = Field(default=3_000, ge=1, description="a sample of the users, for memory and time")
    regularisation: float = Field(default=5.0, ge=0, description="in users that say the prior is right")
    history_scale: float = Field(
        default=2.0, gt=0, description="known watches at which half of the weights are those of a stranger"
    )
    new_scale: float = Field(
        default=5.0, gt=0, description="meetings at which a video is half as new as one nobody has met"
    )
    rounds: int = Field(
        default=1, ge=0, description="of learning on the candidates that the weights of before rank best"
    )
