"""What the hybrid's weights are learned from: candidates of validation users, and which of them they chose."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.blend import BlendModel, comparable, trusted
from ml.collaborative_config import HybridConfig
from ml.dataset import Interactions, Known, Watched
from ml.ids import MISSING, Ids, lookup
from ml.recommender import Past, Scores
from ml.topk import NO_CANDIDATE, rows_per_block, top_k
from ml.video_signals import video_signals

STRANGERS_SHARE = 0.25
OF_NEW = "content_of_new"


@dataclass(frozen=True)
class Terms:
    """What the weights belong to: parts, then (if one of them is about content) content of new videos, then signals."""

    parts: tuple[str, ...]
    content: str
    signals: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.parts, *([OF_NEW] if self.content else []), *self.signals)

    @property
    def personal(self) -> int:
        """How many come before the signals: those that differ from user to user."""
        return len(self.names) - len(self.signals)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class BlendExamples:
    """`values` (n, k, terms) of k candidates of n users, `chosen` (n, k) which of them the user liked later, `t` (n,)
    how much the weights of known users count. `log_counts` (n, k): how many videos of the catalogue a candidate stands
    for; -inf in places without one. Users whose candidates hold nothing they liked are left out."""

    values: NDArray[np.float32]
    chosen: NDArray[np.bool_]
    log_counts: NDArray[np.float32]
    t: NDArray[np.float32]
    terms: Terms = field(repr=False)
    users: int

    @classmethod
    def of(
        cls,
        model: BlendModel,
        terms: Terms,
        known: Known,
        validation: Interactions,
        watched: Watched,
        config: HybridConfig,
        seed: int,
        *,
        sampled: bool,
    ) -> Self:
        """With `sampled` the candidates are what the user liked and a uniform sample of the rest, which stands for all:
        weights that explain the whole catalogue. Without, they are the best `config.candidates` of `model` (a blend of
        the same parts) that the user had not met at `known.as_of_ms`: weights that order the top, where order matters.
        A sum of few logs cannot do both well, and the second alone goes astray when `model` is far off (recall@20 on
        KuaiRand-late's validation days: .226 by the first, .233 by the second after it, .176 by the second alone).
        """
        pairs = _Wanted.of(model.video_ids, known, validation, watched)
        rng = np.random.default_rng(seed)
        n = min(len(pairs.user_ids), config.max_users)
        sample = np.sort(rng.permutation(len(pairs.user_ids))[:n])
        unknown = np.sort(rng.permutation(sample)[: int(np.ceil(n * STRANGERS_SHARE))])
        draws = rng if sampled else None
        signals = video_signals(known, model.video_ids, config.half_lives_days)
        table = np.stack([signals[name] for name in terms.signals], axis=1)
        blocks = [
            *_blocks(model, pairs, sample, table, terms, config.candidates, draws, strangers=False),
            *_blocks(model, pairs, unknown, table, terms, config.candidates, draws, strangers=True),
        ]
        values, chosen, log_counts, t = (
            np.concatenate(columns) for columns in zip(_nothing(terms, config), *blocks, strict=True)
        )
        told = chosen.any(axis=1)
        return cls(values[told], chosen[told], log_counts[told], t[told], terms, n)


_Block = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]


def _nothing(terms: Terms, config: HybridConfig) -> _Block:
    k = config.candidates
    none = np.zeros((0, k), dtype=np.float32)
    return np.zeros((0, k, len(terms)), np.float32), none.astype(np.bool_), none, np.zeros(0, np.float32)


@dataclass(frozen=True)
class _Wanted:
    """`liked` and `met` (m,) rows of videos of each user, by bounds: those of user i lie between [i] and [i + 1]."""

    user_ids: Ids
    liked: NDArray[np.int64]
    liked_bounds: NDArray[np.int64]
    met: NDArray[np.int64]
    met_bounds: NDArray[np.int64]

    @classmethod
    def of(cls, video_ids: Ids, known: Known, validation: Interactions, watched: Watched) -> Self:
        """Who liked a video after `known` that they had not met before, and what else they had met."""
        later = validation.positives & (validation.started_at_ms >= known.as_of_ms)
        wanted = validation.take(later)
        candidates, users = np.unique(wanted.user_ids, return_inverse=True)
        m = len(video_ids)

        def pairs(rows: NDArray[np.int64], ids: Ids) -> NDArray[np.int64]:
            videos = lookup(video_ids, ids)
            there = (rows != MISSING) & (videos != MISSING)
            return np.unique(rows[there] * m + videos[there])

        met_users, met_videos = watched.before(known.as_of_ms)
        own = known.interactions
        met = np.union1d(
            pairs(lookup(candidates, met_users), met_videos),
            pairs(lookup(candidates, own.user_ids), own.video_ids),
        )
        liked = np.setdiff1d(pairs(users.astype(np.int64), wanted.video_ids), met)
        judged = np.unique(liked // m)
        met = met[np.isin(met // m, judged)]
        return cls(
            user_ids=candidates[judged],
            liked=liked % m,
            liked_bounds=np.searchsorted(liked // m, [*judged, len(candidates)]),
            met=met % m,
            met_bounds=np.searchsorted(met // m, [*judged, len(candidates)]),
        )

    def marked(self, users: NDArray[np.int64], which: str, m: int) -> NDArray[np.bool_]:
        """(len(users), m): True where the video is among the user's `liked` or `met`."""
        videos, bounds = getattr(self, which), getattr(self, f"{which}_bounds")
        marks = np.zeros((len(users), m), dtype=np.bool_)
        for row, user in enumerate(users.tolist()):
            marks[row, videos[bounds[user] : bounds[user + 1]]] = True
        return marks


def _blocks(
    model: BlendModel,
    wanted: _Wanted,
    users: NDArray[np.int64],
    signals: NDArray[np.float32],
    terms: Terms,
    k: int,
    draws: np.random.Generator | None,
    *,
    strangers: bool,
) -> list[_Block]:
    m = len(model.video_ids)
    step = max(1, rows_per_block(m) // len(terms.parts))
    return [
        _block(model, wanted, users[start : start + step], signals, terms, k, draws, strangers)
        for start in range(0, len(users), step)
    ]


def _block(
    model: BlendModel,
    wanted: _Wanted,
    users: NDArray[np.int64],
    signals: NDArray[np.float32],
    terms: Terms,
    k: int,
    draws: np.random.Generator | None,
    strangers: bool,
) -> _Block:
    m = len(model.video_ids)
    ids = wanted.user_ids[users]
    if strangers:
        scores = {name: model.parts[name].scores_for([Past(())] * len(users)) for name in terms.parts}
        t = np.zeros(len(users), dtype=np.float32)
    else:
        scores = {name: model.parts[name].scores(ids) for name in terms.parts}
        rows = lookup(model.user_ids, ids)
        watches = np.where(rows == MISSING, 0, model.watches[rows] if len(model.watches) else 0)
        t = trusted(watches.astype(np.float32), model.history_scale)
    said = {name: comparable(of_part) for name, of_part in scores.items()}
    met, liked = wanted.marked(users, "met", m), wanted.marked(users, "liked", m)
    if draws is None:
        # All users' candidates are of the ranking of the well known, also the strangers': with candidates of their own
        # those with few watches were served worse (validation days: recall@20 .296 instead of .307), strangers alike.
        best, log_counts = _best(model.mixed(said, np.ones_like(t)), met, k)
    else:
        best, log_counts = _sampled(liked, met, k, draws)
    personal = [np.take_along_axis(said[name], best, axis=1) for name in terms.parts]
    if terms.content:
        personal.append(personal[terms.parts.index(terms.content)] * model.newness[best])
    values = np.concatenate([np.stack(personal, axis=2), signals[best]], axis=2)
    chosen = np.take_along_axis(liked, best, axis=1) & np.isfinite(log_counts)
    return values.astype(np.float32), chosen, log_counts, t


def _best(total: Scores, met: NDArray[np.bool_], k: int) -> tuple[NDArray[np.int64], Scores]:
    """Columns of the k best not met, each standing for itself."""
    total[met] = -np.inf
    best, _ = top_k(total, k)
    best = np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=NO_CANDIDATE)
    log_counts = np.where(best == NO_CANDIDATE, -np.inf, 0).astype(np.float32)
    return np.where(best == NO_CANDIDATE, 0, best), log_counts


def _sampled(
    liked: NDArray[np.bool_], met: NDArray[np.bool_], k: int, draws: np.random.Generator
) -> tuple[NDArray[np.int64], Scores]:
    """Columns of what was liked, each standing for itself, and of as many others not met as there is room for."""
    order = draws.random(liked.shape, dtype=np.float32)
    order[liked] += 1
    order[met] = -np.inf
    columns, keys = top_k(order, k)
    columns = np.pad(columns, ((0, 0), (0, k - columns.shape[1])), constant_values=NO_CANDIDATE)
    keys = np.pad(keys, ((0, 0), (0, k - keys.shape[1])), constant_values=-np.inf)
    others = (~liked & ~met).sum(axis=1)
    drawn = ((keys < 1) & (keys >= 0)).sum(axis=1)
    stands_for = np.log(np.maximum(others, 1) / np.maximum(drawn, 1))[:, None]
    log_counts = np.where(keys >= 1, 0, np.where(columns == NO_CANDIDATE, -np.inf, stands_for))
    return np.where(columns == NO_CANDIDATE, 0, columns), log_counts.astype(np.float32)
