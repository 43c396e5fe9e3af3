"""The traffic simulator: a small world of people with tastes, the same on every machine and in every year.

Loved topics decide what people watch long; what they are shown follows their taste and what is popular (Zipf), and
new videos keep appearing. Deliveries are as untidy as real ones: a few events come late, out of order, twice, broken.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa

from data_quality.contracts import USERS, VIDEOS, DeviceType, Gender, enum_array
from ingestion.events import MAX_BATCH_ROWS
from ingestion.simulator_feed import Feed, make_feed
from ingestion.simulator_plays import Names, Stream, make_stream, names, part_of, slices, to_columns
from ingestion.simulator_words import DESCRIPTIONS, PLACES, SUBJECTS, TITLES
from ingestion.simulator_world import CATEGORIES, DAY_MS, TOPICS, World, WorldSize, make_world

NAME = "simulator"
WORLD_VERSION = 1  # raise it when the same size and seed are to give another world
_UTC_MS = pa.timestamp("ms", "UTC")


class Simulator:
    """A source of simulated traffic: `scale` 1 is about 300,000 events of 2,000 people over `days` days."""

    name = NAME

    def __init__(self, scale: float = 1.0, days: int = 5, seed: int = 20250630) -> None:
        if scale <= 0 or days < 1:
            raise ValueError(f"scale must be above 0 and days at least 1, got {scale} and {days}")
        self.size = WorldSize.of(scale, days, seed)

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{NAME}/{WORLD_VERSION}/{self.size}".encode()).hexdigest()

    def validate(self) -> None:
        """Nothing can be wrong with it."""

    @cached_property
    def _made(self) -> tuple[World, Feed, Stream]:
        rng = np.random.default_rng(self.size.seed)
        world = make_world(self.size, rng)
        feed = make_feed(world, rng)
        return world, feed, make_stream(world, feed, rng)

    @property
    def rows_read(self) -> int:
        return len(self._made[2].kind)

    def users(self) -> pa.Table:
        """Profiles: what people said they like is two of the three topics they love."""
        world, _, _ = self._made
        places = [PLACES[place] for place in world.user_place]
        creators = names("c", world.size.creators)
        genders = [gender.value for gender in Gender]
        columns = {
            "user_id": pa.array(names("u", world.size.users)),
            "created_at": _instants(world.user_created_ms),
            "age": pa.array(world.user_age.astype(np.int16)),
            "gender": pa.array([genders[number] for number in world.user_gender]),
            "language": pa.array([language for _, _, language, _, _ in places]),
            "interested_categories": pa.array(
                [list(dict.fromkeys(TOPICS[topic][0] for topic in row[:2])) for row in world.user_favourites],
                pa.list_(pa.string()),
            ),
            "avg_daily_watch_time_ms": pa.array(
                (world.user_activity * 600_000).clip(0, DAY_MS).astype(np.int64)
            ),
            "device_type": enum_array(DeviceType, pa.array(world.user_device.astype(np.int8))),
            "preferred_creators": pa.array(
                [list(dict.fromkeys(creators[number] for number in row)) for row in world.user_creators],
                pa.list_(pa.string()),
            ),
            "region": pa.array([country for _, country, *_ in places]),
        }
        return pa.table([columns[name] for name in USERS.names], schema=USERS.schema)

    def videos(self) -> pa.Table:
        """The catalogue; counts are 0, as nothing has been watched when the simulation starts."""
        world, _, _ = self._made
        rows = world.size.videos
        rng = np.random.default_rng([self.size.seed, 1])  # the words have a stream of their own
        creators = names("c", world.size.creators)
        texts = [_describe(topic, rng) for topic in world.video_topic]
        columns = {
            "video_id": pa.array(names("v", rows)),
            "creator_id": pa.array([creators[number] for number in world.video_creator]),
            "title": pa.array([title for title, _, _ in texts]),
            "description": pa.array([description for _, description, _ in texts]),
            "upload_time": _instants(world.video_upload_ms),
            "duration_ms": pa.array(world.video_duration_ms),
            "category": pa.array([TOPICS[topic][0] for topic in world.video_topic]),
            "tags": pa.array([tags for _, _, tags in texts], pa.list_(pa.string())),
            "language": pa.array([PLACES[place][2] for place in world.video_place]),
            "sound_id": pa.array([f"s{number:04d}" for number in rng.zipf(1.4, rows) % 5000]),
            "thumbnail_url": pa.array([""] * rows),
            "is_trending": pa.array([False] * rows),
            "view_count": pa.array(np.zeros(rows, np.int64)),
            "like_count": pa.array(np.zeros(rows, np.int64)),
        }
        return pa.table([columns[name] for name in VIDEOS.names], schema=VIDEOS.schema)

    def events(self) -> Iterator[pa.RecordBatch]:
        """In the order of arrival."""
        world, feed, stream = self._made
        called = Names.of(world, f"{NAME}/{self.fingerprint()}")
        for rows in slices(len(stream.kind), MAX_BATCH_ROWS):
            yield to_columns(world, feed, part_of(stream, rows), called).to_batch()

    def notes(self) -> dict[str, int]:
        _, feed, stream = self._made
        return {"impressions": len(feed), "visits": len(np.unique(feed.visit)), "events": len(stream.kind)}


def _describe(topic_number: int, rng: np.random.Generator) -> tuple[str, str, list[str]]:
    """(title, description, tags) of a video on a topic."""
    category, topic = TOPICS[topic_number]
    things = SUBJECTS[category][topic]
    thing = things[rng.integers(len(things))]
    words = {
        "thing": thing,
        "Thing": thing[0].upper() + thing[1:],
        "topic": topic,
        "Topic": topic.capitalize(),
        "n": int(rng.integers(3, 31)),
    }
    title = TITLES[rng.integers(len(TITLES))].format(**words)
    description = DESCRIPTIONS[rng.integers(len(DESCRIPTIONS))].format(**words)
    return title, description, [topic, thing, category]


def _instants(epoch_ms: np.ndarray) -> pa.Array:
    return pa.array(epoch_ms.astype("datetime64[ms]")).cast(_UTC_MS)


assert len(TOPICS) == 5 * len(CATEGORIES)  # the world counts on five topics a category
