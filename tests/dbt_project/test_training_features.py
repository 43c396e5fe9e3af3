"""Training rows know what the events before their hour say, and nothing else: a walk over those events agrees."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_quality import training_set
from data_quality.training_rows import stream_interactions, training_rows
from data_quality.training_set import export_training_set
from data_quality.training_set_schema import FEATURES

from .reference import HOUR, MEASURES, hour_of, session, sessions_of, total
from .warehouse import T0, Event, Warehouse

DAY = timedelta(days=1)
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60.0
LENGTHS = {"v0": 20_000, "v1": 40_000, "v2": 60_000, "v3": 900_000}  # v4 has none known, v5 no row at all
CREATED = {"u0": T0 - 400 * DAY, "u1": T0 + 20 * DAY, "u2": None}  # u3 to u5 have no profile
UPLOADED = {
    "v0": T0 - 100 * DAY,
    "v1": T0 + 30 * DAY,
    "v2": None,
    "v3": T0 + timedelta(minutes=10),
    "v4": None,
}

Row = dict[str, Any]


def traffic(seed: int, sessions: int, days: int) -> list[Event]:
    """Sessions of 6 users and 6 videos, many of them around an hour's or a day's end; some go on for hours, or come
    back the next day or month with a like, a replay or another ending. And a newcomer who watches a new video twice."""
    rng = random.Random(seed)
    events = []
    for number in range(sessions):
        key: dict[str, Any] = {"user": f"u{rng.randrange(6)}", "video": f"v{rng.randrange(6)}"}
        hour = rng.choice([rng.randrange(24 * days), 24 * rng.randrange(days)])
        start = 20 + 3600.0 * hour + rng.choice([rng.uniform(-300, 300), rng.uniform(0, 3600), 0, -0.001])
        at, kinds = start, ["view_start"]
        if rng.random() < 0.2:
            kinds = ["scroll_pass"]
        else:
            kinds += rng.choices(
                ["pause", "resume", "like", "comment", "share", "save", "seek"], k=rng.randrange(4)
            )
            kinds += rng.choice([["view_end"], ["scroll_pass"], ["click"], []])
        if rng.random() < 0.3:
            kinds += rng.choices(["like", "share", "replay", "view_end", "click"], k=rng.randrange(1, 4))
        for place, kind in enumerate(kinds):
            position = rng.randrange(0, 60_000) if kind == "seek" else None
            events.append(Event(f"s{number}", kind, round(at, 3), position, **key))
            at += rng.choice([rng.uniform(0, 30), rng.uniform(0, 30), 40 * MINUTE, 24 * 60 * MINUTE, 31 * 1440 * MINUTE]
                             if place >= 2 else [rng.uniform(1, 30)])  # fmt: skip
    for name, at in (("first", 20 + 3600.0 * 24 * days), ("second", 80 + 3600.0 * 24 * days)):
        events += [Event(name, kind, at + 10 * (kind == "view_end"), user="newcomer", video="new")
                   for kind in ("view_start", "view_end")]  # fmt: skip
    rng.shuffle(events)
    return events


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return traffic(seed=3, sessions=700, days=50)


def deliver(warehouse: Warehouse, *batches: Sequence[Event]) -> None:
    """To an empty warehouse; after each batch the training tables are built."""
    warehouse.clear()
    for user, created in CREATED.items():
        warehouse.catalogue(
            "INSERT INTO users (user_id, created_at) VALUES (:id, :time)", id=user, time=created
        )
    for video, uploaded in UPLOADED.items():
        warehouse.catalogue(
            "INSERT INTO videos (video_id, creator_id, duration_ms, upload_time) VALUES (:id, 'c', :length, :time)",
            **{"id": video, "length": LENGTHS.get(video), "time": uploaded},
        )
    for batch in batches:
        warehouse.add(batch)
        warehouse.dbt("run", "-s", "+tag:training", "stg_users")


@pytest.fixture(scope="module")
def rows(shared_warehouse: Warehouse, events: list[Event]) -> list[Row]:
    """The training rows with their features, as the training set reads them."""
    warehouse = shared_warehouse
    deliver(warehouse, events)
    pieces = stream_interactions(warehouse.client, training_rows(warehouse.client), chunk_rows=50)
    return list(pa.concat_tables(pieces).to_pylist())


def sums_before(events: Sequence[Event], moment: datetime) -> Counter[str]:
    """The measures of the sessions built from the events before this moment alone."""
    built = sessions_of(event for event in events if event.when < moment)
    return Counter(dict(zip(MEASURES, total(session(part, LENGTHS) for part in built.values()), strict=True)))


def gained(events: Sequence[Event], since: datetime, until: datetime) -> dict[str, Any]:
    before, after = (sums_before(events, moment) for moment in (since, until))
    return {name: after[name] - before[name] for name in MEASURES}


def window_start(hour: datetime, days: int) -> datetime:
    """Calendar days of UTC, the hour's own included."""
    return hour.replace(hour=0) - (days - 1) * DAY


def mean(value: Any, sessions: int) -> float | None:
    return float(value) / sessions if sessions else None


def known_of_user(events: Sequence[Event], user: str, hour: datetime) -> Row:
    own = [event for event in events if event.user == user]
    month = gained(own, window_start(hour, 30), hour)
    n = month["sessions"]
    reactions = 3 * month["likes"] + 4 * month["shares"] + 4 * month["comments"]
    created = CREATED.get(user)
    known = created is not None and created < hour + HOUR
    return {
        "user_sessions": n,
        "user_watch_time_ms": month["watch_time_ms"],
        "user_finished": month["finished"],
        "user_valid_views": month["valid_views"],
        "user_avg_completion_ratio": mean(month["watch_time_ratio"], n),
        "user_avg_effective_watch_time_ms": mean(month["effective_watch_time_ms"], n),
        "user_engaged_share": mean(month["engaged"], n),
        "user_engagement_score": mean(month["engaged"] + reactions / 10, n),
        "user_account_age_days": (hour.date() - created.date()).days if created and known else None,
    }


def known_of_video(events: Sequence[Event], video: str, hour: datetime) -> Row:
    own = [event for event in events if event.video == video]
    month, week = (gained(own, window_start(hour, days), hour) for days in (30, 7))
    n = month["sessions"]
    uploaded = UPLOADED.get(video)
    known = uploaded is not None and uploaded < hour + HOUR
    return {
        "video_sessions": n,
        "video_finished": month["finished"],
        "video_valid_views": month["valid_views"],
        "video_plays_7d": week["plays"],
        "video_plays_cumulative": gained(own, ALWAYS, hour)["plays"],
        "video_avg_completion_ratio": mean(month["watch_time_ratio"], n),
        "video_avg_watch_time_ms": mean(month["watch_time_ms"], n),
        "video_retention_rate": mean(max(month["completed"], 0), n),
        "video_engagement_rate": mean(month["likes"] + month["shares"] + month["comments"], n),
        "video_age_hours": (hour - hour_of(uploaded)) // HOUR if uploaded and known else None,
    }


def same(name: str, said: Any, expected: Any) -> bool:
    """Floats but for their last bits, the score to its 2 places, all else exactly."""
    if said is None or expected is None or not isinstance(said, float):
        return bool(said == expected)
    if name == "user_engagement_score":
        return abs(said - expected) <= 0.005 + 1e-9 and said == round(said, 2)
    return abs(said - expected) <= 1e-12 * max(abs(expected), 1)


def differences(events: Sequence[Event], rows: Iterable[Row]) -> list[str]:
    found = []
    for row in rows:
        hour = hour_of(row["started_at"])
        expected = known_of_user(events, row["user_id"], hour) | known_of_video(events, row["video_id"], hour)
        assert list(expected) == [feature.name for feature in FEATURES]
        found += [
            f"{row['session_id']} at {row['started_at']}: {name} is {row[name]!r}, not {value!r}"
            for name, value in expected.items()
            if not same(name, row[name], value)
        ]
    return found


def test_a_row_is_told_what_the_events_before_its_hour_say(events: list[Event], rows: list[Row]) -> None:
    sample = random.Random(1).sample(rows, 80)
    assert differences(events, sample)[:10] == []


def test_events_from_the_hour_on_would_give_other_features(events: list[Event], rows: list[Row]) -> None:
    """The traffic can tell: were a row told of its own hour, or not of what came to older sessions, it would show."""
    sample = random.Random(1).sample(rows, 80)
    an_hour_early = [Event(**{**vars(event), "at": event.at - 3600}) for event in events]
    assert len(differences(an_hour_early, sample)) > 50
    first_seen = [part[0] for part in sessions_of(events).values()]
    opening_hours = {(e.session, e.user, e.video): hour_of(e.when) for e in first_seen}
    never_go_on = [e for e in events if hour_of(e.when) == opening_hours[e.session, e.user, e.video]]
    assert len(differences(never_go_on, sample)) > 50


def test_nothing_is_known_in_the_first_hour_not_even_the_session_before(rows: list[Row]) -> None:
    found = [row for row in rows if row["user_id"] == "newcomer"]
    assert [row["session_id"] for row in found] == ["first", "second"]
    for row in found:
        assert {f.name: row[f.name] for f in FEATURES} == {
            f.name: None if f.nullable else 0 for f in FEATURES
        }


def test_every_row_has_its_features_and_just_the_means_and_ages_may_be_null(rows: list[Row]) -> None:
    assert len(rows) > 250
    nulls = {feature.name: sum(row[feature.name] is None for row in rows) for feature in FEATURES}
    assert {name for name, count in nulls.items() if count} == {f.name for f in FEATURES if f.nullable}


def test_each_hour_of_a_user_and_of_a_video_is_there_once(
    warehouse_of_rows: Warehouse, rows: list[Row]
) -> None:
    for key in ("user_id", "video_id"):
        wanted = sorted({(row[key], hour_of(row["started_at"])) for row in rows})
        name = f"{key.removesuffix('_id')}_features_hourly"
        assert warehouse_of_rows.rows(f"SELECT {key}, hour FROM {name} ORDER BY ALL") == wanted


@pytest.fixture
def warehouse_of_rows(shared_warehouse: Warehouse, rows: list[Row]) -> Warehouse:
    assert rows
    return shared_warehouse


def test_another_order_of_arrival_and_other_pieces_give_a_set_of_the_same_bytes(
    warehouse_of_rows: Warehouse, events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_training_set(warehouse_of_rows.client, tmp_path / "at once")
    half = len(events) // 2
    deliver(warehouse_of_rows, events[:half:-1], events[half::-1])
    monkeypatch.setattr(training_set, "stream_interactions", partial(stream_interactions, chunk_rows=7))
    export_training_set(warehouse_of_rows.client, tmp_path / "in two")
    at_once, in_two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("at once", "in two")
    )
    files = ["interactions.parquet", "meta.json", "users.parquet", "videos.parquet", "watched.parquet"]
    assert sorted(at_once) == files
    assert at_once == in_two


def test_training_features_are_not_built_while_sessions_are(warehouse: Warehouse) -> None:
    warehouse.add([Event("a", "view_start", 0), Event("a", "view_end", 30)])
    warehouse.dbt("run", "-s", "+tag:training")
    warehouse.client.command(
        "INSERT INTO touched_sessions VALUES ('u1', 1)"
    )  # taken by a run in progress, or killed
    _, messages = warehouse.try_dbt("run", "-s", "tag:training")
    assert len(messages) == 3  # the others are skipped
    assert "training_interactions: error" in messages[0]
    assert "sessions are being rebuilt" in messages[0]
    warehouse.dbt("run", "-s", "int_session_states")
    warehouse.dbt("run", "-s", "tag:training")
