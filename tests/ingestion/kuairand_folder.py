"""A small KuaiRand-Pure folder, written row by row for tests."""

from collections.abc import Iterable, Mapping
from pathlib import Path

LOG_HEADER = [
    *("user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow", "is_comment"),
    *("is_forward", "is_hate", "long_view", "play_time_ms", "duration_ms", "profile_stay_time"),
    *("comment_stay_time", "is_profile_enter", "is_rand", "tab"),
]
USERS = "user_id,user_active_degree,register_days\n1,full_active,10\n2,full_active,0\n"
VIDEOS = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,music_id,tag\n"
    '7,100,NORMAL,2022-04-10,Kmovie,0.0,20000.0,555,"39,68"\n'
    "8,101,AD,,,0.0,,0,\n"
)
T0 = 1_651_000_000_000


def log_row(**values: object) -> dict[str, object]:
    return dict.fromkeys(LOG_HEADER, 0) | {
        "user_id": 1,
        "video_id": 7,
        "time_ms": T0,
        "duration_ms": 20_000,
        **values,
    }


def log_text(rows: Iterable[Mapping[str, object]]) -> str:
    lines = [",".join(LOG_HEADER)]
    lines += [",".join(str(row[name]) for name in LOG_HEADER) for row in rows]
    return "\n".join(lines) + "\n"


def write_folder(
    root: Path,
    rows: Iterable[Mapping[str, object]],
    *,
    users: str = USERS,
    videos: str = VIDEOS,
    log: str = "log_standard_4_22_to_5_08_pure.csv",
) -> Path:
    data = root / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / log).write_text(log_text(rows))
    (data / "user_features_pure.csv").write_text(users)
    (data / "video_features_basic_pure.csv").write_text(videos)
    return root
