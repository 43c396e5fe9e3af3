"""The two towers in torch: who is asking, and what could be shown, as directions in one space."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.config import TwoTowerConfig
from ml.errors import ConfigurationError

UNKNOWN = 0  # row of every embedding table that stands for "not known"


def choose_device(wanted: str) -> torch.device:
    """`auto` takes a GPU if there is one; asking for one that is not there raises `ConfigurationError`."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("two_tower.device: cuda was asked for, torch sees no GPU")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


class Tower(nn.Sequential):
    """Hidden layers with ReLU, then a linear layer to `dim`."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], dim: int, dropout: float) -> None:
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, dim))


class TwoTower(nn.Module):
    """Scores = (user . video) / temperature + gain * prior, with both vectors of length 1.

    `sizes` are the numbers of distinct values of each video feature, its unknown row included, the first being the
    video id itself. The prior is the video's log popularity at the time of asking: taste is left to the vectors,
    which as directions cannot express "popular with everybody", and the gain of the prior is learned. A user of
    whom nothing was known at that time has the learned vector `no_history` instead of a pooled one.
    """

    def __init__(self, n_users: int, sizes: tuple[int, ...], config: TwoTowerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.users = nn.Embedding(n_users + 1, dim, padding_idx=UNKNOWN)
        self.videos = nn.Embedding(sizes[0], dim)
        self.features = nn.ModuleList(nn.Embedding(size, dim) for size in sizes[1:])
        self.user_tower = Tower(2 * dim, config.hidden, dim, config.dropout)
        self.video_tower = Tower(dim * len(sizes), config.hidden, dim, config.dropout)
        self.no_history = nn.Parameter(torch.zeros(dim))
        self.gain = nn.Parameter(torch.ones(()))
        self.temperature = config.temperature
        self.user_id_dropout = config.user_id_dropout
        for table in (self.users, self.videos, *self.features):
            nn.init.normal_(table.weight, std=0.1)  # type: ignore[arg-type]
        with torch.no_grad():
            self.users.weight[UNKNOWN] = 0

    def video_vectors(self, codes: Tensor) -> Tensor:
        """Unit vectors (n, dim) of videos given as feature codes (n, len(sizes))."""
        parts = [self.videos(codes[:, 0])]
        parts += [table(codes[:, column]) for column, table in enumerate(self.features, 1)]
        return functional.normalize(self.video_tower(torch.cat(parts, dim=1)), dim=1)

    def user_vectors(self, users: Tensor, history: Tensor, weights: Tensor) -> Tensor:
        """Unit vectors (n, dim) of users (n,) with histories: video-id codes and weights, both (n, length).

        The history is pooled as the weighted mean of the videos' id embeddings, weight 0 meaning "not there". In
        training some users are made unknown, so that the tower learns to rely on the history alone as well.
        """
        if self.training and self.user_id_dropout:
            dropped = torch.rand(users.shape, device=users.device) < self.user_id_dropout
            users = users.masked_fill(dropped, UNKNOWN)
        total = weights.sum(dim=1, keepdim=True)
        shares = weights / total.clamp_min(torch.finfo(total.dtype).tiny)
        pooled = functional.embedding_bag(
            history, self.videos.weight, per_sample_weights=shares, mode="sum", padding_idx=UNKNOWN
        )
        pooled = torch.where(total > 0, pooled, self.no_history)
        return functional.normalize(self.user_tower(torch.cat([self.users(users), pooled], dim=1)), dim=1)
