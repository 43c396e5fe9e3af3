"""The real data: every impression is a session that lasted as long as the log says, and the features of 1,000 users and
1,000 videos are those that pandas computes from the same files."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ingestion.kuairand import KuaiRand
from ingestion.load import load

from .agreement import build_features, disagreements
from .pandas_features import DAY_MS, DEFAULT_DURATION_MS, World
from .warehouse import Warehouse

pytestmark = pytest.mark.slow

KEY = ["user_id", "video_id", "time_ms"]
MODELS = ("-s", "staging", "intermediate", "marts")
CHECKSUM = "SELECT cityHash64(groupArray(tuple(*))) FROM (SELECT * FROM int_session_states ORDER BY ALL)"


@pytest.fixture(scope="module")
def data(real_data: Path) -> Path:
    return real_data / "KuaiRand-Pure" / "data"


@pytest.fixture(scope="module")
def built(shared_warehouse: Warehouse, data: Path) -> Warehouse:
    """The data set, loaded and built, with every data test passed."""
    shared_warehouse.clear()
    load(shared_warehouse.settings, KuaiRand(data.parent))
    shared_warehouse.dbt(
        "build", *MODELS, "--exclude-resource-type", "unit_test", "--indirect-selection", "cautious"
    )
    return shared_warehouse


@pytest.fixture(scope="module")
def impressions(data: Path) -> pd.DataFrame:
    """The log, an impression once: of rows that repeat it the longest is the truth (the data's README)."""
    log = pd.concat(pd.read_csv(path) for path in sorted(data.glob("log_*_pure.csv")))
    # Of the same impression in two tabs, the lower one counts in the order of the feed.
    first = log.sort_values(["time_ms", "user_id", "video_id", "tab"]).groupby(KEY, sort=False).first()
    longest = log.groupby(KEY, sort=False).max()
    rows = longest.loc[first.index].assign(tab=first["tab"]).reset_index()
    day = rows["time_ms"] // DAY_MS
    return rows.assign(feed_rank=rows.groupby([rows["user_id"], rows["tab"], day]).cumcount())


@pytest.fixture(scope="module")
def world(data: Path, impressions: pd.DataFrame) -> World:
    return World(events_of(impressions), profiles(data), metadata(data))


def events_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The events of each impression: its start if it played, reactions on the way, its end."""
    play, length = rows["play_time_ms"], rows["duration_ms"].where(rows["duration_ms"] > 0)
    finished = (play > 0) & (play / length.fillna(DEFAULT_DURATION_MS) >= 0.9)
    parts = [(play > 0, "view_start", play * 0)]
    for flag, kind, tenths in (
        ("is_like", "like", 4),
        ("is_comment", "comment", 6),
        ("is_forward", "share", 7),
        ("is_follow", "follow_creator", 8),
    ):
        parts.append((rows[flag] > 0, kind, play * tenths // 10))
    parts += [(finished, "view_end", play), (~finished, "scroll_pass", play)]
    return pd.concat(
        pd.DataFrame(
            {
                "session": rows.index[has],
                "user_id": rows["user_id"][has].astype(str),
                "video_id": rows["video_id"][has].astype(str),
                "at": (rows["time_ms"] + offset)[has],
                "kind": kind,
                "position": np.nan,  # nobody seeks here, so where the player stands decides nothing
                "scrolled_to": rows["feed_rank"][has] > 0,
            }
        )
        for has, kind, offset in parts
    )


def profiles(data: Path) -> dict[str, dict[str, object]]:
    """What the data set says of its users: since when they are registered, counted back from the end of the log."""
    log_end = 1_652_025_600_000  # 2022-05-08T16:00Z
    users = pd.read_csv(data / "user_features_pure.csv", usecols=["user_id", "register_days"])
    fixed: dict[str, object] = {
        "age": None, "gender": "unknown", "language": "zh", "interested_categories": [], "region": "CN",
        "avg_daily_watch_time_ms": 0, "device_type": "unknown", "preferred_creators": [],
    }  # fmt: skip
    return {
        str(user): {"created_at": log_end - days * DAY_MS, **fixed}
        for user, days in zip(users["user_id"].tolist(), users["register_days"].tolist(), strict=True)
    }


def metadata(data: Path) -> dict[str, dict[str, object]]:
    """What it says of its videos."""
    videos = pd.read_csv(
        data / "video_features_basic_pure.csv", dtype={"tag": str}, parse_dates=["upload_dt"]
    )
    rows = {}
    for row in videos.to_dict("records"):
        tags = row["tag"].split(",") if isinstance(row["tag"], str) else []
        category = f"topic {tags[0]}" if tags else "unknown"
        known = {name: value if isinstance(value, str) else "UNKNOWN" for name, value in row.items()}
        rows[str(row["video_id"])] = {
            "creator_id": str(row["author_id"]),
            "title": f"Video {row['video_id']}" + (f" · {category}" if tags else ""),
            "description": f"{known['video_type']} video, uploaded by {known['upload_type']}",
            "upload_time": None if pd.isna(row["upload_dt"]) else row["upload_dt"].value // 1_000_000,
            "duration_ms": round(row["video_duration"]) if row["video_duration"] > 0 else None,
            "category": category,
            "tags": tags,
            "language": "zh",
            "sound_id": str(int(row["music_id"])) if row["music_id"] > 0 else "",
            "thumbnail_url": "",
            "is_trending": False,
            "catalogue_view_count": 0,
            "catalogue_like_count": 0,
        }
    return rows


def test_every_session_lasted_exactly_the_logs_play_time(built: Warehouse, impressions: pd.DataFrame) -> None:
    expected = impressions.set_index(KEY).sort_index()
    play = expected["play_time_ms"].to_numpy()
    sessions = built.client.query_df(
        "SELECT toInt64(user_id) AS user_id, toInt64(video_id) AS video_id,"
        " toUnixTimestamp64Milli(started_at) AS time_ms, total_watch_time_ms, effective_watch_time_ms,"
        " was_played, exit_reason FROM watch_sessions"
    )
    assert len(sessions) == 222_444
    sessions = sessions.set_index(KEY).sort_index()
    assert sessions.index.equals(expected.index)
    assert (sessions["total_watch_time_ms"].to_numpy() == play).all()
    assert (sessions["effective_watch_time_ms"].to_numpy() == play).all()
    assert (sessions["was_played"].to_numpy() == (play > 0)).all()


@pytest.fixture(scope="module")
def sample(world: World) -> tuple[list[str], list[str]]:
    """A thousand random users and videos, and those of the few sessions across midnight or noon."""
    rng = random.Random(20220508)
    users, videos = rng.sample(sorted(world.profiles), 1000), rng.sample(sorted(world.metadata), 1000)
    sessions = world.events.groupby("session").agg(
        {"at": ["min", "max"], "user_id": "first", "video_id": "first"}
    )
    sessions.columns = pd.Index(["began", "ended", "user_id", "video_id"])
    halves = sessions[["began", "ended"]] // (DAY_MS // 2)
    across = sessions[halves["began"] < halves["ended"]]
    assert len(across) > 100
    return sorted({*users, *across["user_id"]}), sorted({*videos, *across["video_id"]})


def test_features_by_the_datas_own_clock_count_every_session(
    built: Warehouse, world: World, impressions: pd.DataFrame, sample: tuple[list[str], list[str]]
) -> None:
    clock = build_features(built, None)
    assert clock == world.events["at"].max()
    # They reach back 30 days and the log is of 14.
    assert built.rows("SELECT count(), sum(total_sessions) FROM user_features") == [(27_285, 222_444)]
    assert built.rows("SELECT count(), sum(total_sessions) FROM video_features") == [(7_583, 222_444)]
    likes = int(impressions["is_like"].sum())
    assert built.rows("SELECT sum(like_count) FROM video_features") == [(likes,)]
    assert built.rows("SELECT count(), countIf(liked = 1) FROM interactions") == [(222_444, likes)]
    assert disagreements(built, world, *sample, clock)[:10] == []


@pytest.mark.parametrize(
    "as_of",
    [
        "2022-05-02 00:00:00.000",  # in the middle of the log: what came later is not there
        "2022-05-02 12:00:00.000",
        "2022-05-31 12:00:00.000",  # the window's far edge in the middle of the log: the 2nd is its first day
    ],
)
def test_features_of_any_moment_agree_with_pandas(
    built: Warehouse, world: World, sample: tuple[list[str], list[str]], as_of: str
) -> None:
    clock = build_features(built, as_of)
    assert disagreements(built, world, *sample, clock)[:10] == []


def test_sessions_across_hours_have_a_state_for_each(built: Warehouse, world: World) -> None:
    hours = world.events.assign(hour=world.events["at"] // 3_600_000)[["session", "hour"]].drop_duplicates()
    assert len(hours) > 222_444
    assert built.rows(
        "SELECT count(), sum(sessions), sum(sign) FROM int_session_changes"
    ) == [(2 * len(hours) - 222_444, 222_444, 222_444)]  # fmt: skip


def test_another_run_and_a_full_rebuild_change_nothing(built: Warehouse) -> None:
    before = built.rows(CHECKSUM)
    built.dbt("run", "-s", "int_session_states")
    assert built.rows(CHECKSUM) == before
    built.dbt("run", "-s", "int_session_states", "--full-refresh")
    assert built.rows(CHECKSUM) == before
