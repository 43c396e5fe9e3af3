"""What can be said of a video without asking who watches: is it met now, was it met before, do people like it."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Known
from ml.fitting import decayed
from ml.ids import MISSING, Ids, lookup

Signals = Mapping[str, NDArray[np.float32]]

# Below a third of a meeting there is nothing to tell apart; and ten meetings' worth of the overall rate, so that a
# video with one positive of one does not lead.
_FLOOR, _PRIOR_MEETINGS = 0.3, 10.0
TOTAL, LIKED = "met_ever", "liked"


def names(half_lives_days: Sequence[float]) -> tuple[str, ...]:
    """The names of the signals, in the order of `video_signals`."""
    return (*(recent(days) for days in half_lives_days), TOTAL, LIKED)


def recent(half_life_days: float) -> str:
    return f"met_{half_life_days:g}d"


def video_signals(known: Known, video_ids: Ids, half_lives_days: Sequence[float]) -> Signals:
    """Logs of how often each of `video_ids` (m,) was met, and liked; (m,) float32 each.

    `met_<h>d`: log(.3 + meetings, each halved every h days before `as_of_ms`); `met_ever`: log(1 + meetings); `liked`:
    log of the share of the users who met it that gave it a positive interaction, drawn towards the share over all.
    Recent against ever is the trend: log(recent) - log(ever) is the log of a ratio, and sums of logs are what a
    softmax takes. Who met a video is in `watched`; when that is empty, in the interactions.
    """
    met_videos, met_ms = _meetings(known, video_ids)
    m = len(video_ids)
    met_ever = np.bincount(met_videos, minlength=m).astype(np.float64)
    signals = {}
    for days in half_lives_days:
        fading = decayed(met_ms, known.as_of_ms, days)
        met = np.bincount(met_videos, weights=fading, minlength=m)
        signals[recent(days)] = np.log(_FLOOR + met).astype(np.float32)
    signals[TOTAL] = np.log1p(met_ever).astype(np.float32)
    liked = _liked(known, video_ids)
    met_ever = np.maximum(met_ever, liked)
    overall = (liked.sum() + 1) / (met_ever.sum() + 2)
    share = (liked + _PRIOR_MEETINGS * overall) / (met_ever + _PRIOR_MEETINGS)
    signals[LIKED] = np.log(share).astype(np.float32)
    return signals


def newness(signals: Signals, new_scale: float) -> NDArray[np.float32]:
    """1 / (1 + meetings / new_scale) of each video, (m,): 1 for one nobody met."""
    return (1 / (1 + np.expm1(signals[TOTAL]) / new_scale)).astype(np.float32)


def _meetings(known: Known, video_ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row in `video_ids` and time of every first meeting of a user and a video."""
    if len(known.watched.user_ids):
        ids, times_ms = known.watched.video_ids, known.watched.first_met_ms
    else:
        rows = known.interactions
        _, users = np.unique(rows.user_ids, return_inverse=True)
        of_pair = users * len(video_ids) + lookup(video_ids, rows.video_ids)
        order = np.argsort(rows.started_at_ms, kind="stable")
        _, first = np.unique(of_pair[order], return_index=True)
        ids, times_ms = rows.video_ids[order][first], rows.started_at_ms[order][first]
    found = lookup(video_ids, ids)
    there = found != MISSING
    return found[there], times_ms[there]


def _liked(known: Known, video_ids: Ids) -> NDArray[np.float64]:
    """How many users gave each video a positive interaction, (m,)."""
    rows = known.interactions.take(known.interactions.positives)
    _, users = np.unique(rows.user_ids, return_inverse=True)
    videos = lookup(video_ids, rows.video_ids)
    there = videos != MISSING
    pairs = np.unique(users[there] * len(video_ids) + videos[there])
    return np.bincount(pairs % len(video_ids), minlength=len(video_ids)).astype(np.float64)
