"""A KuaiRand-Pure folder of a few thousand rows: people who like one of four topics, over two weeks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

START_MS = 1_650_900_000_000
DAY_MS = 86_400_000
TOPICS = 4


@dataclass(frozen=True)
class Tiny:
    """The folder, and what must come out of it."""

    folder: Path
    sessions: int
    watched_ms: int
    users: int
    videos: int


def write_tiny_kuairand(
    folder: Path, *, users: int = 150, videos: int = 80, rows: int = 6000, seed: int = 1
) -> Tiny:
    """Distinct (user, video, time) rows, a tenth of them scrolled past, one in twenty repeated."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, rows)
    video = rng.integers(0, videos, rows)
    likes_it = user % TOPICS == video % TOPICS
    duration = 8_000 + 500 * video
    share = np.where(likes_it, rng.uniform(0.7, 1.3, rows), rng.uniform(0.0, 0.4, rows))
    play = np.where(rng.random(rows) < 0.1, 0, (share * duration).astype(int))
    log = pd.DataFrame(
        {
            "user_id": user,
            "video_id": video,
            "date": 20220426,
            "hourmin": 0,
            "time_ms": START_MS + np.sort(rng.integers(0, 14 * DAY_MS, rows)),
            "is_click": 1,
            "is_like": (likes_it & (rng.random(rows) < 0.3)).astype(int),
            "is_follow": 0,
            "is_comment": 0,
            "is_forward": 0,
            "is_hate": 0,
            "long_view": likes_it.astype(int),
            "play_time_ms": play,
            "duration_ms": duration,
            "profile_stay_time": 0,
            "comment_stay_time": 0,
            "is_profile_enter": 0,
            "is_rand": 0,
            "tab": 1,
        }
    ).drop_duplicates(["user_id", "video_id", "time_ms"])
    data = folder / "data"
    data.mkdir(parents=True)
    repeated = pd.concat([log, log.sample(frac=0.05, random_state=seed)])
    repeated.to_csv(data / "log_standard_4_22_to_5_08_pure.csv", index=False)
    profiles = pd.DataFrame(
        {"user_id": range(users), "user_active_degree": "full_active", "register_days": 100}
    )
    profiles.to_csv(data / "user_features_pure.csv", index=False)
    pd.DataFrame(
        {
            "video_id": range(videos),
            "author_id": [100 + v % 7 for v in range(videos)],
            "video_type": "NORMAL",
            "upload_dt": "2022-04-10",
            "upload_type": "ShortImport",
            "visible_status": 0.0,
            "video_duration": [8_000.0 + 500 * v for v in range(videos)],
            "music_id": 555,
            "tag": [str(v % TOPICS) for v in range(videos)],
        }
    ).to_csv(data / "video_features_basic_pure.csv", index=False)
    return Tiny(folder, len(log), int(log.play_time_ms.sum()), users, videos)
