"""What simulated people are shown, when, and how much of it they watch: one row per impression."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingestion.events import Ints
from ingestion.simulator_words import PLACES
from ingestion.simulator_world import CATEGORY_OF_TOPIC, DAY_MS, END_MS, TOPICS, Floats, World

_VISITS_PER_DAY = 2.15  # of a person of average activity
_VIDEOS_PER_VISIT = 11.0
_BY_TASTE = 0.7  # the rest of a feed is what is popular
_REPEAT_SHARE = 0.1  # of the videos a person has met already, how many are shown again
# How busy each hour of a person's own day is: little at night, peaks at lunch and in the evening.
_HOURS = np.array([3, 2, 1, 1, 1, 1, 2, 4, 5, 4, 4, 5, 8, 7, 5, 5, 6, 7, 9, 11, 13, 13, 10, 6], float)
_BUCKET_MS = DAY_MS // 4


@dataclass(frozen=True)
class Feed:
    """n impressions, visit by visit and in order within each; times in milliseconds."""

    user: Ints
    video: Ints
    visit: Ints
    position: Ints
    start_ms: Ints
    """When the visit began; impressions follow each other from there."""
    network: Ints
    interested: NDArray[np.bool_]
    skipped: NDArray[np.bool_]
    """Swiped away before it played."""
    played_ms: Ints
    """Time in the playing state."""

    def __len__(self) -> int:
        return len(self.user)


def make_feed(world: World, rng: np.random.Generator) -> Feed:
    """Draw visits, what each shows, and the reaction."""
    visit_user, visit_start = _visits(world, rng)
    length = np.minimum(rng.geometric(1 / _VIDEOS_PER_VISIT, len(visit_user)), 60)
    network = rng.choice(4, len(visit_user), p=[0.62, 0.24, 0.11, 0.03]) + 1
    visit = np.repeat(np.arange(len(visit_user)), length)
    user, start = visit_user[visit], visit_start[visit]
    video = _shown(world, user, start, rng)
    keep = _first_meetings(user, video, visit, rng)
    visit, user, start, video = visit[keep], user[keep], start[keep], video[keep]
    position = np.arange(len(visit)) - np.searchsorted(visit, visit)
    interested, skipped, played = _reactions(world, user, video, rng)
    return Feed(user, video, visit, position, start, network[visit], interested, skipped, played)


def _visits(world: World, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Users and start times, by time: Poisson in number, by the hours of the day where the person lives."""
    size = world.size
    counts = rng.poisson(_VISITS_PER_DAY * size.days * world.user_activity)
    user = np.repeat(np.arange(size.users), counts)
    hour = rng.choice(24, len(user), p=_HOURS / _HOURS.sum())
    offset = np.array([hours for _, _, _, hours, _ in PLACES])[world.user_place[user]]
    within_day = ((hour - offset) % 24) * 3_600_000 + rng.integers(0, 3_600_000, len(user))
    start = size.start_ms + rng.integers(0, size.days, len(user)) * DAY_MS + within_day
    early = start < END_MS - 2 * 3_600_000  # so that the visit ends before the simulation does
    order = np.argsort(start[early], kind="stable")
    return user[early][order], start[early][order]


def _shown(world: World, user: Ints, start: Ints, rng: np.random.Generator) -> Ints:
    """A video per impression: of a topic drawn from the person's taste, or of any, by how much each is shown.

    A video can be shown from its upload on (in steps of six hours) and gets more room while it is new.
    """
    by_topic = np.argsort(world.video_topic, kind="stable")
    topic_start = np.searchsorted(world.video_topic[by_topic], np.arange(len(TOPICS) + 1))
    cumulated_taste = np.cumsum(world.user_taste, axis=1)
    draw = rng.random(len(user))
    topic = np.minimum((cumulated_taste[user] < draw[:, None]).sum(axis=1), len(TOPICS) - 1)
    by_taste = rng.random(len(user)) < _BY_TASTE
    draw = rng.random(len(user))
    video = np.empty(len(user), np.int64)
    bucket = (start - world.size.start_ms) // _BUCKET_MS
    for number in np.unique(bucket):
        now = world.size.start_ms + number * _BUCKET_MS
        age_days = (now - world.video_upload_ms) / DAY_MS
        weight = np.where(
            age_days >= 0, world.video_weight * (1 + 2 * np.exp(-np.maximum(age_days, 0) / 1.5)), 0
        )
        cumulated = np.concatenate([[0.0], np.cumsum(weight[by_topic])])
        rows = np.flatnonzero(bucket == number)
        low, high = cumulated[topic_start[topic[rows]]], cumulated[topic_start[topic[rows] + 1]]
        popular = ~by_taste[rows] | (high <= low)  # or nothing of the topic is out yet
        low, high = np.where(popular, 0.0, low), np.where(popular, cumulated[-1], high)
        place = np.searchsorted(cumulated, low + draw[rows] * (high - low), side="right") - 1
        video[rows] = by_topic[np.clip(place, 0, len(by_topic) - 1)]
    return video


def _first_meetings(user: Ints, video: Ints, visit: Ints, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which impressions happen: feeds rarely repeat a video for a person, and never within a visit."""
    _, first = np.unique(user * (video.max() + 1) + video, return_index=True)
    _, first_in_visit = np.unique(visit * (video.max() + 1) + video, return_index=True)
    keep = rng.random(len(user)) < _REPEAT_SHARE
    keep[first] = True
    once = np.zeros(len(user), bool)
    once[first_in_visit] = True
    return keep & once


def _reactions(
    world: World, user: Ints, video: Ints, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Ints]:
    """Interested or not, skipped or not, and the time played."""
    topic = world.video_topic[video]
    favourites = world.user_favourites[user]
    loved = (favourites == topic[:, None]).any(axis=1)
    beside = (CATEGORY_OF_TOPIC[favourites] == CATEGORY_OF_TOPIC[topic][:, None]).any(axis=1)
    followed = (world.user_creators[user] == world.video_creator[video][:, None]).any(axis=1)
    logit: Floats = (
        -2.0 + 3.2 * loved + 0.9 * (beside & ~loved) + 1.0 * followed + 0.6 * world.video_appeal[video]
    )
    interested = rng.random(len(user)) < 1 / (1 + np.exp(-logit))
    skipped = ~interested & (rng.random(len(user)) < 0.35)
    long_watch = rng.beta(5, 1.2, len(user)) + np.where(
        rng.random(len(user)) < 0.15, rng.exponential(0.7, len(user)), 0
    )
    ratio = np.where(interested, long_watch, rng.beta(1, 5, len(user)))
    duration = world.video_duration_ms[video]
    # Long videos are watched to a smaller share: by the power of the length beyond half a minute.
    ratio *= np.minimum(1, (30_000 / duration)) ** 0.12
    played = np.maximum(np.minimum(ratio, 3) * duration, 120).astype(np.int64)
    return interested, skipped, np.where(skipped, 0, played)
