"""What the hybrid's weights are learned from: candidates of validation users, and which of them they chose."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.blend import BlendModel, comparable_parts, trusted
from ml.collaborative_config import HybridConfig
from ml.dataset import Interactions, Known, Watched
from ml.ids import MISSING, Ids, lookup
from ml.recommender import Past
from ml.topk import NO_CANDIDATE, rows_per_block, top_k
from ml.video_signals import video_signals

STRANGERS_SHARE = 0.25


@dataclass(frozen=True)
class Terms:
    """What the weights belong to: parts first, then signals."""

    parts: tuple[str, ...]
    signals: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.parts, *self.signals)

    def __len__(self) -> int:
        return len(self.parts) + len(self.signals)


@dataclass(frozen=True)
class BlendExamples:
    """`values` (n, k, terms) of k candidates of n users, `chosen` (n, k) which of them the user liked later, `t` (n,)
    how much the weights of known users count. Places without a candidate are `absent` (n, k). Users whose candidates
    hold nothing they liked are left out."""

    values: NDArray[np.float32]
    chosen: NDArray[np.bool_]
    absent: NDArray[np.bool_]
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
    ) -> Self:
        """The candidates are the best `config.candidates` of `model` (a blend of the same parts) that the user had not
        met at `known.as_of_ms`: only there does the order matter, and a sum of logs that had to explain the whole
        catalogue explains the top badly (recall@20 .215 instead of .230 on KuaiRand-late's validation days)."""
        pairs = _Wanted.of(model.video_ids, known, validation, watched)
        rng = np.random.default_rng(seed)
        n = min(len(pairs.user_ids), config.max_users)
        sample = np.sort(rng.permutation(len(pairs.user_ids))[:n])
        unknown = np.sort(rng.permutation(sample)[: int(np.ceil(n * STRANGERS_SHARE))])
        signals = video_signals(known, model.video_ids, config.half_lives_days)
        table = np.stack([signals[name] for name in terms.signals], axis=1)
        blocks = [
            *_blocks(model, pairs, sample, table, terms, config.candidates, strangers=False),
            *_blocks(model, pairs, unknown, table, terms, config.candidates, strangers=True),
        ]
        values, chosen, absent, t = (
            np.concatenate(columns) for columns in zip(_nothing(terms, config), *blocks, strict=True)
        )
        told = chosen.any(axis=1)
        return cls(values[told], chosen[told], absent[told], t[told], terms, n)


_Block = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]


def _nothing(terms: Terms, config: HybridConfig) -> _Block:
    k = config.candidates
    flags = np.zeros((0, k), dtype=np.bool_)
    return np.zeros((0, k, len(terms)), np.float32), flags, flags, np.zeros(0, np.float32)


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
    *,
    strangers: bool,
) -> list[_Block]:
    m = len(model.video_ids)
    step = max(1, rows_per_block(m) // len(terms.parts))
    return [
        _block(model, wanted, users[start : start + step], signals, terms, k, strangers)
        for start in range(0, len(users), step)
    ]


def _block(
    model: BlendModel,
    wanted: _Wanted,
    users: NDArray[np.int64],
    signals: NDArray[np.float32],
    terms: Terms,
    k: int,
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
    said = comparable_parts(scores, model.stand_in, model.stands_in_for, model.trust)
    total = np.tile(model.of_known.video_bias, (len(users), 1))
    for name, values in said.items():
        total += np.float32(model.of_known.weights[name]) * values
    total[wanted.marked(users, "met", m)] = -np.inf
    best, _ = top_k(total, k)
    if best.shape[1] < k:
        best = np.pad(best, ((0, 0), (0, k - best.shape[1])), constant_values=NO_CANDIDATE)
    absent = best == NO_CANDIDATE
    best = np.where(absent, 0, best)
    of_parts = [np.take_along_axis(said[name], best, axis=1) for name in terms.parts]
    values = np.concatenate([np.stack(of_parts, axis=2), signals[best]], axis=2)
    chosen = np.take_along_axis(wanted.marked(users, "liked", m), best, axis=1) & ~absent
    return values.astype(np.float32), chosen, absent, t
