"""The simulated world: topics, creators, videos, and people with tastes."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ingestion.events import Ints
from ingestion.simulator_words import PLACES, SUBJECTS

Floats = NDArray[np.float64]

DAY_MS = 86_400_000
END_MS = int(datetime(2025, 6, 30, tzinfo=UTC).timestamp() * 1000)
"""When the simulated days end: a constant, so that the same world is made for ever."""

CATEGORIES = tuple(SUBJECTS)
TOPICS = tuple((category, topic) for category, topics in SUBJECTS.items() for topic in topics)
CATEGORY_OF_TOPIC: Ints = np.array([CATEGORIES.index(category) for category, _ in TOPICS])
FAVOURITES = 3  # topics a person loves
_TASTE = (0.74, 0.16, 0.10)  # what people are shown by taste: loved topics, those beside them, anything


@dataclass(frozen=True)
class WorldSize:
    """How much of everything; `scale` 1 gives about 300,000 events."""

    users: int
    videos: int
    creators: int
    days: int
    seed: int

    @classmethod
    def of(cls, scale: float, days: int, seed: int) -> "WorldSize":
        """People grow with `scale`, the catalogue with its square root, as on real platforms."""
        root = scale**0.5
        return cls(
            max(20, round(2000 * scale)), max(120, round(1600 * root)), max(20, round(240 * root)), days, seed
        )

    @property
    def start_ms(self) -> int:
        return END_MS - self.days * DAY_MS


@dataclass(frozen=True)
class World:
    """Arrays by video (v), creator (c) and user (u)."""

    size: WorldSize
    video_creator: Ints
    video_topic: Ints
    video_duration_ms: Ints
    video_upload_ms: Ints
    video_appeal: Floats
    """How well it holds people, standard normal."""
    video_weight: Floats
    """How much it is shown: Zipf's law over the videos, more for the appealing ones."""
    video_place: Ints
    creator_topic: Ints
    user_favourites: Ints
    """(u, 3): the topics they love."""
    user_taste: Floats
    """(u, topics): what they are shown when shown by taste; rows sum to 1."""
    user_creators: Ints
    """(u, 2): the creators they follow closely."""
    user_activity: Floats
    user_place: Ints
    user_device: Ints
    user_created_ms: Ints
    user_age: Ints
    user_gender: Ints


def make_world(size: WorldSize, rng: np.random.Generator) -> World:
    """Draw the world; everything random comes from `rng`."""
    topics = len(TOPICS)
    place_shares = np.array([share for *_, share in PLACES])
    creator_topic = np.concatenate([rng.permutation(topics), rng.integers(0, topics, size.creators)])[
        : size.creators
    ]
    creator_weight = 1 / np.arange(1, size.creators + 1) ** 0.6
    creator_place = rng.choice(len(PLACES), size.creators, p=place_shares)
    creator = rng.choice(size.creators, size.videos, p=creator_weight / creator_weight.sum())
    # Four in five videos are on the creator's topic, the rest in its category.
    own = rng.random(size.videos) < 0.8
    neighbour = CATEGORY_OF_TOPIC[creator_topic[creator]] * 5 + rng.integers(0, 5, size.videos)
    appeal = rng.standard_normal(size.videos)
    weight = np.exp(0.5 * appeal) / (rng.permutation(size.videos) + 1) ** 0.7
    # A fifth of the catalogue appears while the simulation runs.
    new = rng.random(size.videos) < 0.2
    age_days = np.where(
        new, rng.uniform(-size.days, 0, size.videos), np.minimum(rng.exponential(40, size.videos), 365)
    )
    duration = np.clip(rng.lognormal(np.log(28), 0.7, size.videos), 5, 240)

    favourites = np.argsort(rng.random((size.users, topics)), axis=1)[:, :FAVOURITES]
    shares = rng.dirichlet(np.full(FAVOURITES, 2.0), size.users)
    loved = np.zeros((size.users, topics))
    np.put_along_axis(loved, favourites, shares, axis=1)
    beside = np.zeros((size.users, topics))
    for column in range(FAVOURITES):
        same = CATEGORY_OF_TOPIC[favourites[:, column], None] == CATEGORY_OF_TOPIC[None, :]
        beside += same * shares[:, column, None] / 5
    taste = _TASTE[0] * loved + _TASTE[1] * beside + _TASTE[2] / topics
    return World(
        size=size,
        video_creator=creator,
        video_topic=np.where(own, creator_topic[creator], neighbour),
        video_duration_ms=(duration * 1000).astype(np.int64),
        video_upload_ms=(size.start_ms - age_days * DAY_MS).astype(np.int64),
        video_appeal=appeal,
        video_weight=weight / weight.sum(),
        video_place=creator_place[creator],
        creator_topic=creator_topic,
        user_favourites=favourites,
        user_taste=taste / taste.sum(axis=1, keepdims=True),
        user_creators=_creators_of(favourites, creator_topic, rng),
        user_activity=rng.lognormal(-0.32, 0.8, size.users),
        user_place=rng.choice(len(PLACES), size.users, p=place_shares),
        user_device=rng.choice(3, size.users, p=[0.35, 0.53, 0.12]) + 1,
        user_created_ms=size.start_ms - (rng.exponential(300, size.users) * DAY_MS).astype(np.int64),
        user_age=np.clip(rng.normal(27, 9, size.users), 13, 80).astype(np.int64),
        user_gender=rng.choice(3, size.users, p=[0.47, 0.47, 0.06]),
    )


def _creators_of(favourites: Ints, creator_topic: Ints, rng: np.random.Generator) -> Ints:
    """Two creators for each user, of their first two favourite topics where those have any."""
    order = np.argsort(creator_topic, kind="stable")
    topics = np.arange(len(TOPICS))
    first = np.searchsorted(creator_topic[order], topics)
    count = np.searchsorted(creator_topic[order], topics, side="right") - first
    wanted = favourites[:, :2]
    inside = first[wanted] + (rng.random(wanted.shape) * np.maximum(count[wanted], 1)).astype(np.int64)
    anyone = rng.integers(0, len(creator_topic), wanted.shape)
    return np.where(count[wanted] > 0, order[np.minimum(inside, len(order) - 1)], anyone)
