"""Small data sets whose right answer is known, and the parquet folders made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.dataset import UNKNOWN_MS, Catalogue, Interactions, Known, People, Watched

HOUR_MS = 3_600_000
VIDEO_MS = 60_000
START_MS = 1_650_000_000_000
HIT = "A-00"
GROUP_SIZE = 15

Row = tuple[str, str, float, float]


def interactions(rows: Sequence[Row]) -> Interactions:
    """From (user, video, hours since the start, watch ratio): R4's rating, weight and positives; videos of a minute."""
    users, videos, hours, ratios = zip(*rows, strict=True) if rows else ((), (), (), ())
    started_at_ms = START_MS + np.rint(np.asarray(hours, dtype=np.float64) * HOUR_MS).astype(np.int64)
    played_ms = np.rint(np.asarray(ratios, dtype=np.float64) * VIDEO_MS).astype(np.int64)
    watched = np.minimum(np.asarray(ratios, dtype=np.float64), 1)
    return Interactions(
        user_ids=np.asarray(users, dtype=np.str_),
        video_ids=np.asarray(videos, dtype=np.str_),
        started_at_ms=started_at_ms,
        ended_at_ms=started_at_ms + played_ms,
        ratings=(5 * watched).astype(np.float32),
        weights=watched.astype(np.float32),
        positives=np.asarray(ratios, dtype=np.float64) >= 0.7,
    )


def met(rows: Interactions, scrolled_past: Sequence[tuple[str, str, float]] = ()) -> Watched:
    """The pairs of the rows and of (user, video, hours since the start) that were only scrolled past."""
    first: dict[tuple[str, str], int] = {}
    pairs = zip(rows.user_ids.tolist(), rows.video_ids.tolist(), rows.started_at_ms.tolist(), strict=True)
    passed = ((user, video, START_MS + round(hour * HOUR_MS)) for user, video, hour in scrolled_past)
    for user, video, time_ms in (*pairs, *passed):
        first[user, video] = min(time_ms, first.get((user, video), time_ms))
    pairs_met = sorted(first)
    return Watched(
        user_ids=np.asarray([user for user, _ in pairs_met], dtype=np.str_),
        video_ids=np.asarray([video for _, video in pairs_met], dtype=np.str_),
        first_met_ms=np.asarray([first[pair] for pair in pairs_met], dtype=np.int64),
    )


def catalogue(video_ids: Sequence[str]) -> Catalogue:
    """All facts but the title by the id's first letter: creator, category, tag, words; a minute long each."""
    letters = [video_id[:1] for video_id in video_ids]
    return Catalogue.of(
        video_ids,
        creator_ids=letters,
        categories=letters,
        durations_ms=[VIDEO_MS] * len(video_ids),
        upload_ms=[START_MS - 24 * HOUR_MS] * len(video_ids),
        titles=[f"Video {video_id}" for video_id in video_ids],
        descriptions=[f"Everything about topic{letter}" for letter in letters],
        tags=[(f"tag-{letter}", "short") for letter in letters],
    )


def known(
    rows: Interactions | Sequence[Row],
    videos: Catalogue | Sequence[str] | None = None,
    people: People | None = None,
    watched: Watched | None = None,
) -> Known:
    """What is known just after the newest row; the catalogue is `taste_videos` unless given."""
    if not isinstance(rows, Interactions):
        rows = interactions(rows)
    if not isinstance(videos, Catalogue):
        videos = catalogue(taste_videos() if videos is None else videos)
    return Known.of(rows, videos, people, watched)


def everybody(rows: Interactions) -> People:
    """A profile of each user of the rows, the same for all but the age."""
    user_ids = np.unique(rows.user_ids)
    n = len(user_ids)
    return People(
        user_ids=user_ids,
        ages=np.arange(20, 20 + n, dtype=np.int64) % 60,
        genders=np.full(n, "female"),
        languages=np.full(n, "en"),
        regions=np.full(n, "eu"),
        device_types=np.full(n, "ios"),
    )


def tastes(users: int = 60, seed: int = 0) -> Interactions:
    """Half of the users finish A videos and leave B videos at once, the others the reverse.

    Each met 10 of the 15 videos of the own taste and 5 of the other's, so the right recommendation is the 5 left
    of the own taste. At the end 40 strangers finish `HIT`, which makes it the most popular.
    """
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for user in range(users):
        own, other = ("A", "B") if user % 2 else ("B", "A")
        for letter, count, ratio in ((own, 10, 1.0), (other, 5, 0.12)):
            for video in rng.choice(GROUP_SIZE, count, replace=False):
                rows.append((f"{own}-fan-{user}", f"{letter}-{video:02d}", float(rng.uniform(0, 47)), ratio))
    rows += [(f"stranger-{user}", HIT, 47.5 + user / 1000, 1.0) for user in range(40)]
    return interactions(sorted(rows, key=lambda row: row[2]))


def taste_videos() -> list[str]:
    return [f"{letter}-{video:02d}" for letter in "AB" for video in range(GROUP_SIZE)] + ["never-played"]


def write_folder(
    directory: Path,
    rows: Interactions,
    videos: Catalogue,
    watched: Watched | None = None,
    people: People | None = None,
) -> Path:
    """The training-set folder as the pipeline writes it, as far as `ml` reads it; met were at least the rows' pairs.

    There is a `users.parquet` only if there are people.
    """
    directory.mkdir(parents=True, exist_ok=True)
    table = {
        "session_id": [f"s{row}" for row in range(len(rows))],
        "user_id": texts(rows.user_ids),
        "video_id": texts(rows.video_ids),
        "started_at": times(rows.started_at_ms),
        "ended_at": times(rows.ended_at_ms),
        "rating": rows.ratings.astype(np.float64),
        "weight": rows.weights.astype(np.float64),
        "is_positive": rows.positives,
    }
    pq.write_table(pa.table(table), directory / "interactions.parquet")
    watched = watched or met(rows)
    pairs = {
        "user_id": texts(watched.user_ids),
        "video_id": texts(watched.video_ids),
        "first_met_at": times(watched.first_met_ms),
    }
    pq.write_table(pa.table(pairs), directory / "watched.parquet")
    columns = {
        "video_id": texts(videos.video_ids),
        "creator_id": texts(videos.creator_ids),
        "category": texts(videos.categories),
        "language": texts(videos.languages),
        "duration_ms": numbers(videos.durations_ms),
        "upload_time": times(videos.upload_ms),
        "title": texts(videos.titles),
        "description": texts(videos.descriptions),
        "tags": pa.array([list(tags) for tags in videos.tags], pa.list_(pa.string())),
    }
    pq.write_table(pa.table(columns), directory / "videos.parquet")
    if people is not None:
        profiles = {
            "user_id": texts(people.user_ids),
            "age": numbers(people.ages),
            "gender": texts(people.genders),
            "language": texts(people.languages),
            "region": texts(people.regions),
            "device_type": texts(people.device_types),
        }
        pq.write_table(pa.table(profiles), directory / "users.parquet")
    return directory


def texts(values: Sequence[str] | np.ndarray) -> pa.Array:
    return pa.array(np.asarray(values, dtype=object).tolist(), pa.string())


def numbers(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values == UNKNOWN_MS)


def times(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values == UNKNOWN_MS).cast(pa.timestamp("ms", tz="UTC"))
