"""The two towers in torch: who is asking, and what could be shown, as directions in one space."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.errors import ConfigurationError
from ml.features import UNKNOWN
from ml.tower_priors import VIDEO_AGES
from ml.two_tower_config import TwoTowerConfig

EMPTY = 1e-3  # added to the total weight of a past, so that one of nothing is finite


def choose_device(wanted: str) -> torch.device:
    """`auto` takes a GPU if there is one; asking for one that is not there raises `ConfigurationError`."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("two_tower.device: cuda was asked for, torch sees no GPU")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


@dataclass(frozen=True)
class Sizes:
    """Numbers of users and videos, of the codes of each video column (the tags' last) and profile column."""

    users: int
    videos: int
    video_columns: tuple[int, ...]
    profile_columns: tuple[int, ...]
    content: int = 0


class Past(NamedTuple):
    """Who asks: user rows + 1 (0 = a stranger) (n,), profile codes (n, 5), and their past, (n, length) each."""

    users: Tensor
    profiles: Tensor
    codes: Tensor
    weights: Tensor
    ages_days: Tensor


class Videos(NamedTuple):
    """Video-id codes (n,) (0 = a new video), feature codes (n, 4), tags (n, MAX_TAGS) and content vectors (n, d)."""

    ids: Tensor
    codes: Tensor
    tags: Tensor
    content: Tensor


class Tower(nn.Sequential):
    """Hidden layers with ReLU, then a linear layer to `dim`."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], dim: int) -> None:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, dim))


class TwoTower(nn.Module):
    """Scores = scale * (user . video) + what is said of the video whoever asks, both vectors being of length 1.

    Each tower adds its hidden layers to a linear path past them: user . video can be what the best linear models of
    co-watches compute (the video's own vector times the mean of those of the past), and the layers learn the rest.
    Videos are read from the past in a table of their own (`history`), wider than the vectors: what a watched video
    says of its watcher is more than what makes it fit another one.

    `bias` is a video's popularity over the training, the newest targets counting most, and `age` that of videos as old
    at the time of asking (of those not uploaded yet: none); so the vectors need not say it, which as directions they
    cannot. A user of whom nothing was known has the learned vector `no_history` instead of a pooled one.
    """

    def __init__(self, sizes: Sizes, config: TwoTowerConfig) -> None:
        super().__init__()
        dim, width, profile = config.dim, config.history_dim, config.profile_dim
        self.n_videos, self.config = sizes.videos, config
        self.history = _table(sizes.videos + 1, width, 0.1, config)
        self.no_history = nn.Parameter(torch.zeros(width))
        self.weight_power = nn.Parameter(torch.tensor(0.2))
        self.log_rank_decay = nn.Parameter(torch.tensor(-4.0))
        self.users = _table(sizes.users + 1, dim, 0.0, config)
        self.profiles = nn.ModuleList(_table(n, profile, 0.03, config) for n in sizes.profile_columns)
        self.user_skip = nn.Linear(width, dim, bias=False)
        self.user_tower = Tower(width + dim + profile, config.hidden, dim)
        self.videos = _table(sizes.videos + 1, dim, 0.1, config)
        self.features = nn.ModuleList(_table(n, dim, 0.03, config) for n in sizes.video_columns[:-1])
        self.tags = _table(sizes.video_columns[-1], dim, 0.03, config)
        self.content = nn.Linear(sizes.content, dim, bias=False) if sizes.content else None
        self.video_tower = Tower(dim, config.hidden, dim)
        self.bias = nn.Parameter(torch.zeros(sizes.videos))
        self.age = nn.Parameter(torch.zeros(VIDEO_AGES))
        self.log_scale = nn.Parameter(torch.tensor(1 / config.temperature).log())

    def video_vectors(self, videos: Videos) -> Tensor:
        """Unit vectors (n, dim). In training some videos are made new, so that the features are learned as well."""
        ids = self._forget(videos.ids, self.config.video_id_dropout)
        x = self.videos(ids) * (ids != UNKNOWN)[:, None]
        for column, table in enumerate(self.features):
            x = x + table(videos.codes[:, column])
        named = (videos.tags != UNKNOWN).float()
        shares = named / named.sum(dim=1, keepdim=True).clamp_min(1)
        x = x + functional.embedding_bag(
            videos.tags, self.tags.weight, per_sample_weights=shares, mode="sum", sparse=self.tags.sparse
        )
        if self.content is not None:
            x = x + self.content(videos.content)
        return functional.normalize((x + self.video_tower(x)).float(), dim=1)

    def user_vectors(self, past: Past) -> Tensor:
        """Unit vectors (n, dim). In training some users are made strangers, so that their past is relied on."""
        pooled = functional.dropout(self.pooled(past), self.config.dropout, self.training)
        ids = self._forget(past.users, self.config.user_id_dropout)
        own = self.users(ids) * (ids != UNKNOWN)[:, None]
        profile = sum(table(past.profiles[:, column]) for column, table in enumerate(self.profiles))
        x = self.user_skip(pooled) + self.user_tower(torch.cat([pooled, own, profile], dim=1))  # type: ignore[list-item]
        return functional.normalize(x.float(), dim=1)

    def pooled(self, past: Past) -> Tensor:
        """Weighted mean of the past's rows of `history`, (n, width); a row's share of it is
        weight ** power * exp(-decay * how many are newer) * 0.5 ** (age / half life), power and decay being learned.
        """
        there = past.weights > 0
        ranks = torch.arange(past.codes.shape[1], device=past.codes.device)
        logs = self.weight_power * past.weights.clamp_min(1e-6).log() - self.log_rank_decay.exp() * ranks
        shares = torch.exp2(-past.ages_days / self.config.history_half_life_days) * logs.exp() * there
        total = shares.sum(dim=1, keepdim=True)
        pooled = functional.embedding_bag(
            past.codes,
            self.history.weight,
            per_sample_weights=shares / (total + EMPTY),
            mode="sum",
            sparse=self.history.sparse,
        )
        return torch.where(there.any(dim=1, keepdim=True), pooled, self.no_history)

    def _forget(self, ids: Tensor, share: float) -> Tensor:
        if not (self.training and share):
            return ids
        return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < share, UNKNOWN)


def _table(rows: int, width: int, std: float, config: TwoTowerConfig) -> nn.Embedding:
    table = nn.Embedding(rows, width, sparse=rows > config.lazy_rows)
    nn.init.normal_(table.weight, std=std)
    return table
