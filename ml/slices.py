"""Parts of the test that are looked at apart: kinds of users, and kinds of videos."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.catalogue import Catalogue, People
from ml.dataset import Interactions
from ml.evaluate import Evaluation, TestUsers
from ml.ids import MISSING, lookup
from ml.metrics import CUTOFFS, PerUser, ranking_metrics
from ml.parquet import UNKNOWN_MS
from ml.split import Split

HEAD_SHARE = 0.8
SHORT_MS = 30_000
FRESH_DAYS = 3
DAY_MS = 86_400_000

THIN = 30
"""Fewer users than this: the interval is too narrow to be trusted, and the slice decides nothing."""


@dataclass(frozen=True)
class Slice:
    """Either some of the test users, `users` (n,), or some of their videos, `videos` (len of their `video_ids`,).

    A slice of videos leaves every ranking as it is: a user's relevant videos are those of the slice, whoever has one
    is in it, and other relevant videos above them count as misses. Its figures compare models with each other, not
    the slice with the whole. Gender and age make no slices, on purpose: nothing is decided by them.
    """

    name: str
    about: str
    users: NDArray[np.bool_] | None = None
    videos: NDArray[np.bool_] | None = None

    @property
    def of(self) -> str:
        return "videos" if self.users is None else "users"


def slices_of(users: TestUsers, split: Split, catalogue: Catalogue, people: People) -> list[Slice]:
    """All slices of a test, empty ones too; everything is told from rows before the cut and from metadata."""
    return [
        *_by_history(users, split.train),
        *_by_device(users, people),
        *_by_plays(users, split.train),
        *_by_upload(users, catalogue, split.cut_ms),
        *_by_duration(users, catalogue),
    ]


def restricted(
    evaluation: Evaluation, users: TestUsers, part: Slice, cutoffs: tuple[int, ...] = CUTOFFS
) -> tuple[NDArray[np.bool_], PerUser]:
    """Which test users are in the slice, (n,), and the metrics of those, (members,) each, in order."""
    if part.videos is None:
        members = part.users if part.users is not None else np.ones(len(users.user_ids), np.bool_)
        return members, {name: values[members] for name, values in evaluation.per_user.items()}
    rows, videos = users.relevant
    relevant = np.bincount(rows[part.videos[videos]], minlength=len(users.user_ids))
    members = relevant > 0
    if not members.any():
        return members, {name: values[members] for name, values in evaluation.per_user.items()}
    hits = evaluation.hits[members]
    inside = (hits != MISSING) & part.videos[hits.clip(0)]
    return members, ranking_metrics(inside, relevant[members], cutoffs)


def _by_history(users: TestUsers, train: Interactions) -> list[Slice]:
    rows = lookup(users.user_ids, train.user_ids)
    counts = np.bincount(rows[rows != MISSING], minlength=len(users.user_ids))
    middle = int(np.median(counts[~users.new])) if (~users.new).any() else 0
    return [
        Slice("known_users", "at least one training row", users=~users.new),
        Slice("new_users", "no training row", users=users.new),
        Slice(
            "short_history",
            f"1 to {middle} training rows (the median)",
            users=~users.new & (counts <= middle),
        ),
        Slice("long_history", f"more than {middle} training rows", users=counts > middle),
    ]


def _by_device(users: TestUsers, people: People) -> list[Slice]:
    rows = people.rows_of(users.user_ids)
    devices = np.full(len(rows), "", dtype=people.device_types.dtype)
    devices[rows != MISSING] = people.device_types[rows[rows != MISSING]]
    return [
        Slice(
            f"device_{name or 'unknown'}",
            f"the profile's device is {name}" if name else "the profile says no device",
            users=devices == name,
        )
        for name in sorted({"ios", "android", "web", *devices.tolist()})
    ]


def _by_plays(users: TestUsers, train: Interactions) -> list[Slice]:
    """Head: the most liked videos that together have 80% of the training positives; tail: all others."""
    names, plays = np.unique(train.video_ids[train.positives], return_counts=True)
    order = np.argsort(-plays, kind="stable")
    before = np.cumsum(plays[order]) - plays[order]
    head = np.sort(names[order[before < HEAD_SHARE * plays.sum()]])
    in_head = lookup(head, users.video_ids) != MISSING
    liked = lookup(names, users.video_ids) != MISSING
    share = f"{HEAD_SHARE:.0%} of the training positives"
    return [
        Slice("head_videos", f"the {len(head):,} most liked videos, which have {share}", videos=in_head),
        Slice("tail_videos", f"all videos but the {len(head):,} that have {share}", videos=~in_head),
        Slice("known_videos", "at least one training positive", videos=liked),
        Slice("new_videos", "no training positive", videos=~liked),
    ]


def _by_upload(users: TestUsers, catalogue: Catalogue, cut_ms: int) -> list[Slice]:
    uploaded = _of_video(users, catalogue, catalogue.upload_ms)
    fresh = (uploaded != UNKNOWN_MS) & (uploaded >= cut_ms - FRESH_DAYS * DAY_MS)
    return [
        Slice("fresh_videos", f"uploaded after the cut or up to {FRESH_DAYS} days before it", videos=fresh)
    ]


def _by_duration(users: TestUsers, catalogue: Catalogue) -> list[Slice]:
    durations = _of_video(users, catalogue, catalogue.durations_ms)
    seconds = SHORT_MS // 1000
    short = (durations > 0) & (durations <= SHORT_MS)
    return [
        Slice("short_videos", f"at most {seconds} s long", videos=short),
        Slice("long_videos", f"longer than {seconds} s", videos=durations > SHORT_MS),
    ]


def _of_video(users: TestUsers, catalogue: Catalogue, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The catalogue's value for each of the test users' videos, `UNKNOWN_MS` for those it lacks."""
    rows = catalogue.rows_of(users.video_ids)
    found = np.full(len(rows), UNKNOWN_MS, dtype=np.int64)
    found[rows != MISSING] = values[rows[rows != MISSING]]
    return found
