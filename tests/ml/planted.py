"""Small data sets whose right answer is known, and the parquet folders made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.dataset import UNKNOWN_MS, Catalogue, Interactions, Watched

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
    """Creator = the id's first letter, category likewise, a minute long each."""
    letters = np.asarray([video_id[:1] for video_id in video_ids], dtype=np.str_)
    return Catalogue(
        video_ids=np.asarray(video_ids, dtype=np.str_),
        creator_ids=letters,
        categories=letters,
        languages=np.full(len(video_ids), "", dtype="<U2"),
        durations_ms=np.full(len(video_ids), VIDEO_MS, dtype=np.int64),
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
    directory: Path, rows: Interactions, videos: Catalogue, watched: Watched | None = None
) -> Path:
    """The training-set folder as the pipeline writes it, as far as `ml` reads it; met were at least the rows' pairs."""
    directory.mkdir(parents=True, exist_ok=True)
    table = {
        "session_id": [f"s{row}" for row in range(len(rows))],
        "user_id": pa.array(rows.user_ids.tolist(), pa.string()),
        "video_id": pa.array(rows.video_ids.tolist(), pa.string()),
        "started_at": pa.array(rows.started_at_ms, pa.timestamp("ms", tz="UTC")),
        "ended_at": pa.array(rows.ended_at_ms, pa.timestamp("ms", tz="UTC")),
        "rating": rows.ratings.astype(np.float64),
        "weight": rows.weights.astype(np.float64),
        "is_positive": rows.positives,
    }
    pq.write_table(pa.table(table), directory / "interactions.parquet")
    watched = watched or met(rows)
    pairs = {
        "user_id": pa.array(watched.user_ids.tolist(), pa.string()),
        "video_id": pa.array(watched.video_ids.tolist(), pa.string()),
        "first_met_at": pa.array(watched.first_met_ms, pa.timestamp("ms", tz="UTC")),
    }
    pq.write_table(pa.table(pairs), directory / "watched.parquet")
    durations = [None if value == UNKNOWN_MS else int(value) for value in videos.durations_ms]
    columns = {
        "video_id": pa.array(videos.video_ids.tolist(), pa.string()),
        "creator_id": pa.array(videos.creator_ids.tolist(), pa.string()),
        "category": pa.array(videos.categories.tolist(), pa.string()),
        "language": pa.array(videos.languages.tolist(), pa.string()),
        "duration_ms": pa.array(durations, pa.int64()),
    }
    pq.write_table(pa.table(columns), directory / "videos.parquet")
    return directory
