"""Hyper-parameters of the content model and of popularity."""

from pydantic import Field

from ml.config_base import Config


class FieldWeights(Config):
    """How much of a video's vector each kind of fact makes up; the cosine of two videos that share one kind of fact
    alone is that weight squared, over the squares of the weights of all facts that are known."""

    text: float = Field(default=1.0, ge=0, description="words of title and description")
    tag: float = Field(default=1.0, ge=0)
    category: float = Field(default=0.5, ge=0)
    creator: float = Field(default=1.0, ge=0)
    language: float = Field(default=0.25, ge=0)
    duration: float = Field(default=0.25, ge=0)


class ContentConfig(Config):
    """TF-IDF and truncated SVD (LSA) of text and metadata; with `encoder_path`, a sentence encoder for the text."""

    dim: int = Field(default=64, ge=1)
    weights: FieldWeights = FieldWeights()
    max_words: int = Field(default=50_000, ge=1, description="the vocabulary keeps the most frequent")
    min_videos: int = Field(default=2, ge=1, description="rarer words and facts are left out")
    fit_videos: int = Field(
        default=200_000, ge=1, description="a sample of this many decides the components, for memory and time"
    )
    half_life_days: float = Field(default=30.0, gt=0, description="a watch this old counts half for the user")
    encoder_path: str = Field(
        default="", description="local folder of a sentence-transformers model (all-MiniLM-L6-v2); '': LSA"
    )


class PopularityConfig(Config):
    """A play counts half after two days: two to eight days rank alike on KuaiRand, longer would lag behind a
    catalogue that turns over, and below one day a slow hour or a failed import empties the list.

    `trend` is off: the baseline stays the plain one. It can pay: with 2022-04-27 to -30 held out, R@20 is .0825 for
    trend 0, .0864 for 0.5 and .0915 for 1, which is that of a half life of half a day (and there most older plays have
    no time of their own, which favours whatever forgets them).
    """

    half_life_days: float = Field(default=2.0, gt=0, description="a play this old counts half")
    trend: float = Field(
        default=0.0, ge=0, description="power of (recent share of plays / older share); 0: plays alone"
    )
    trend_half_life_days: float = Field(default=0.5, gt=0, description="what is recent")
    smoothing: float = Field(
        default=5.0, gt=0, description="plays added to each video before shares are compared"
    )
