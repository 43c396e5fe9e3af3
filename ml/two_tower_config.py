"""Hyper-parameters of the two-tower model."""

from typing import Literal

from pydantic import Field

from ml.config_base import Config


class TwoTowerConfig(Config):
    """The contract's 64-d towers with 128-64 hidden layers (R5) and how they are trained.

    Chosen on KuaiRand-late's validation cut alone (known until 2022-04-27, long views of 04-28 to 04-30; the test rows
    after that played no part). What counted there: moments with many targets; one history table twice as wide as the
    vectors (four times was no better); the linear path past the hidden layers; long watches at three to four times the
    weight of others; recent targets counting more; popularity in a bias rather than in the vectors, with its recent
    part added when asked; user vectors that start at nothing, and for most users play no part, so that the past is
    relied on. The whole catalogue as candidates was no better than 2,048 uniform ones beside the batch's own. One
    thread, because two share a step this small badly: on busy cores they spin on each other and take ten times as long.
    With all users as strangers in training: R@20 .214, NDCG@10 .080 on that cut (EASE: .176, .064); these settings give
    .211 and .079 there, and gave .207 and .086 on the test, the second look at it.
    """

    dim: int = Field(default=64, ge=1)
    hidden: tuple[int, ...] = (128, 64)
    history_dim: int = Field(
        default=128, ge=1, description="width of what a watched video says of its watcher"
    )
    profile_dim: int = Field(default=16, ge=1)
    epochs: int = Field(default=14, ge=1, description="of the learning-rate schedule")
    stop_after: int | None = Field(
        default=None, ge=1, description="the epoch at which training stops, if earlier"
    )
    patience: int = Field(
        default=3, ge=1, description="epochs without a better validation before it stops early"
    )
    batch_size: int = Field(
        default=512, ge=2, description="moments of users; each has up to `targets` positives"
    )
    targets: int = Field(default=25, ge=1, description="next videos that a moment is asked for")
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    temperature: float = Field(default=0.1, gt=0, description="at the start; then it is learned")
    history_length: int = Field(default=60, ge=1, description="newest videos a user's vector is pooled from")
    history_min_weight: float = Field(
        default=0.15, ge=0, description="a watch of less interest says nothing of the user"
    )
    history_half_life_days: float = Field(default=30.0, gt=0)
    uniform_negatives: int = Field(
        default=2048, ge=0, description="drawn from the catalogue, shared by a batch"
    )
    whole_catalogue_up_to: int = Field(
        default=2_000,
        ge=0,
        description="catalogues of at most this size are candidates as a whole, none is drawn",
    )
    weak_targets: float = Field(
        default=0.8,
        ge=0,
        description="what a watch that is no positive counts as a target, against a positive",
    )
    example_half_life_days: float = Field(
        default=7.0, gt=0, description="a target this much older than the newest counts half"
    )
    duration_debiasing: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="0: the weight of a watch alone; 1: its rank among videos as long",
    )
    content_vectors: bool = Field(
        default=False,
        description="whether the video tower reads the content model's vectors too; on KuaiRand, whose videos have no "
        "text, it makes no difference (NDCG@10 .0791 against .0789 on the validation cut)",
    )
    dropout: float = Field(default=0.4, ge=0, lt=1, description="of the pooled history")
    user_id_dropout: float = Field(
        default=0.95, ge=0, le=1, description="share of users trained on as strangers"
    )
    video_id_dropout: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of videos trained on as new ones, by their features alone",
    )
    popularity_half_life_days: float = Field(default=0.5, gt=0)
    popularity_gain: float = Field(
        default=0.5, ge=0, description="of the log of recent popularity, when asked; found by validation"
    )
    lazy_rows: int = Field(
        default=50_000, ge=1, description="tables with more rows are updated only where a batch touches them"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="of the matrix products (autocast); float16 needs a GPU"
    )
    checkpoint_every_s: float = Field(
        default=60.0, ge=0, description="at most this much work is lost; 0: each step"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1, description="CPU threads; fixed, because the result depends on it")
