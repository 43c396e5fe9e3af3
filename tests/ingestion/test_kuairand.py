"""How rows of KuaiRand's files become events, users and videos: exact answers on rows written by hand."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from data_quality.contract_checks import check_batch
from data_quality.contracts import EVENTS
from ingestion.kuairand import KuaiRand

from .kuairand_folder import T0, VIDEOS, log_row, write_folder


def events_of(folder: Path) -> list[dict[str, Any]]:
    rows = [row for batch in KuaiRand(folder).events() for row in batch.to_pylist()]
    for row in rows:
        row["at"] = round(row["impression_timestamp"].timestamp() * 1000) - T0
    return rows


def story(folder: Path) -> list[tuple[str, int, int | None]]:
    """(event type, ms since T0, playback position) of each event."""
    return [(row["event_type"], row["at"], row["playback_position_ms"]) for row in events_of(folder)]


def test_a_play_of_90_percent_ends_the_view(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(play_time_ms=18_000)])
    assert story(folder) == [("view_start", 0, 0), ("view_end", 18_000, 18_000)]


def test_a_shorter_play_is_scrolled_away(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(play_time_ms=17_999)])
    assert story(folder) == [("view_start", 0, 0), ("scroll_pass", 17_999, 17_999)]


def test_no_play_is_a_lone_scroll_pass(tmp_path: Path) -> None:
    assert story(write_folder(tmp_path, [log_row(play_time_ms=0)])) == [("scroll_pass", 0, 0)]


def test_flags_become_interactions_inside_the_play(tmp_path: Path) -> None:
    flags = {"is_like": 1, "is_comment": 1, "is_forward": 1, "is_follow": 1, "is_click": 1, "is_hate": 1}
    folder = write_folder(tmp_path, [log_row(play_time_ms=10_000, **flags)])
    assert story(folder) == [
        ("view_start", 0, 0),
        ("like", 4000, 4000),
        ("comment", 6000, 6000),
        ("share", 7000, 7000),
        ("follow_creator", 8000, 8000),
        ("scroll_pass", 10_000, 10_000),
    ]
    assert KuaiRand(folder).notes()["hate_flags_not_written"] == 1


def test_a_flag_without_a_play_is_kept_and_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(play_time_ms=0, is_like=1)])
    assert story(folder) == [("like", 0, 0), ("scroll_pass", 0, 0)]
    assert KuaiRand(folder).notes()["interactions_without_a_play"] == 1


def test_a_play_of_a_millisecond_starts_and_ends(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(play_time_ms=1, is_like=1)])
    assert story(folder) == [("view_start", 0, 0), ("like", 0, 0), ("scroll_pass", 1, 1)]


def test_a_play_longer_than_the_video_loops(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(play_time_ms=45_000), log_row(user_id=2, play_time_ms=40_000)])
    assert story(folder)[1::2] == [("view_end", 45_000, 5000), ("view_end", 40_000, 20_000)]


def test_an_unknown_duration_counts_as_the_contracts_default(tmp_path: Path) -> None:
    rows = [
        log_row(user_id=user, duration_ms=0, play_time_ms=play) for user, play in ((1, 53_999), (2, 54_000))
    ]
    folder = write_folder(tmp_path, rows)
    assert story(folder)[1::2] == [("scroll_pass", 53_999, 53_999), ("view_end", 54_000, 54_000)]


def test_repeated_rows_are_one_session_with_the_longest_play_and_every_flag(tmp_path: Path) -> None:
    rows = [log_row(play_time_ms=5000), log_row(play_time_ms=9000), log_row(play_time_ms=2000, is_follow=1)]
    folder = write_folder(tmp_path, rows)
    assert [event for event, _, _ in story(folder)] == ["view_start", "follow_creator", "scroll_pass"]
    source = KuaiRand(folder)
    source.validate()
    assert source.rows_read == 3
    assert {k: source.notes()[k] for k in ("impressions", "repeated_rows_merged")} == {
        "impressions": 1,
        "repeated_rows_merged": 2,
    }


def test_every_column_is_filled_and_keeps_the_contract(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(play_time_ms=1000)])
    (batch,) = KuaiRand(folder).events()
    assert check_batch(EVENTS, batch).rejected == []
    first = events_of(folder)[0]
    assert uuid.UUID(first.pop("event_id")).version == 8
    assert uuid.UUID(first.pop("session_id")).version == 8
    assert first == {
        "user_id": "1",
        "video_id": "7",
        "event_type": "view_start",
        "position_index": 0,
        "impression_timestamp": datetime(2022, 4, 26, 19, 6, 40, tzinfo=UTC),
        "scroll_speed_ms": 0.0,
        "playback_position_ms": 0,
        "device_type": "android",
        "network_type": "other",
        "geo_location": "CN",
        "time_of_day": 19,
        "day_of_week": 2,
        "request_id": "",
        "at": 0,
    }


def test_the_rank_counts_a_users_impressions_of_a_tab_and_day(tmp_path: Path) -> None:
    day = 86_400_000
    rows = [
        log_row(time_ms=T0 + 3, tab=1),
        log_row(time_ms=T0 + 1, tab=1),
        log_row(time_ms=T0 + 2, tab=0),
        log_row(time_ms=T0 + day, tab=1),
        log_row(time_ms=T0 + 4, tab=1, user_id=2),
    ]
    ranks = {row["at"]: row["position_index"] for row in events_of(write_folder(tmp_path, rows))}
    assert ranks == {1: 0, 3: 1, 2: 0, day: 0, 4: 0}


def test_ids_depend_on_the_content_only(tmp_path: Path) -> None:
    rows = [log_row(play_time_ms=1000), log_row(user_id=2, play_time_ms=30)]
    here = events_of(write_folder(tmp_path / "a", rows))
    there = events_of(write_folder(tmp_path / "b", reversed(rows)))
    assert [row["event_id"] for row in here] == [row["event_id"] for row in there]
    assert len({row["event_id"] for row in here}) == 4
    assert here[0]["event_id"] == "97d1889d-4107-8c81-a0a3-408d58cf2ac4"


def test_standard_and_random_logs_are_read_together(tmp_path: Path) -> None:
    write_folder(tmp_path, [log_row(time_ms=T0 + 9)], log="log_random_4_22_to_5_08_pure.csv")
    folder = write_folder(tmp_path, [log_row()])
    assert story(folder) == [("scroll_pass", 0, 0), ("scroll_pass", 9, 0)]
    assert story(folder / "data") == story(folder)


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path: Path) -> None:
    first = KuaiRand(write_folder(tmp_path / "a", [log_row()])).fingerprint()
    assert KuaiRand(write_folder(tmp_path / "b", [log_row()]) / "data").fingerprint() == first
    assert KuaiRand(write_folder(tmp_path / "c", [log_row(tab=3)])).fingerprint() != first
    assert (
        KuaiRand(write_folder(tmp_path / "d", [log_row()], videos=VIDEOS + "9,1,,,,,,,\n")).fingerprint()
        != first
    )


def test_users_say_what_is_known_and_no_more(tmp_path: Path) -> None:
    first, second = KuaiRand(write_folder(tmp_path, [log_row()])).users().to_pylist()
    assert first == {
        "user_id": "1",
        "created_at": datetime(2022, 4, 28, 16, tzinfo=UTC),
        "age": None,
        "gender": "unknown",
        "language": "zh",
        "interested_categories": [],
        "avg_daily_watch_time_ms": 0,
        "device_type": "unknown",
        "preferred_creators": [],
        "region": "CN",
    }
    assert second["created_at"] == datetime(2022, 5, 8, 16, tzinfo=UTC)


def test_videos_say_what_is_known_and_no_more(tmp_path: Path) -> None:
    known, bare = KuaiRand(write_folder(tmp_path, [log_row()])).videos().to_pylist()
    assert known == {
        "video_id": "7",
        "creator_id": "100",
        "title": "Video 7 · topic 39",
        "description": "NORMAL video, uploaded by Kmovie",
        "upload_time": datetime(2022, 4, 10, tzinfo=UTC),
        "duration_ms": 20_000,
        "category": "topic 39",
        "tags": ["39", "68"],
        "language": "zh",
        "sound_id": "555",
        "thumbnail_url": "",
        "is_trending": False,
        "view_count": 0,
        "like_count": 0,
    }
    assert {name: bare[name] for name in ("title", "category", "tags", "description")} == {
        "title": "Video 8",
        "category": "unknown",
        "tags": [],
        "description": "AD video, uploaded by UNKNOWN",
    }
    assert (bare["upload_time"], bare["duration_ms"], bare["sound_id"]) == (None, None, None)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2), st.integers(7, 8), st.integers(0, 5), st.integers(0, 70_000), st.integers(0, 1)
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=40, deadline=None)
def test_each_session_spans_exactly_its_longest_play(
    tmp_path_factory: Any, rows: list[tuple[int, ...]]
) -> None:
    names = ("user_id", "video_id", "time_ms", "play_time_ms", "is_like")
    log = [dict(zip(names, (u, v, T0 + t, play, like), strict=True)) for u, v, t, play, like in rows]
    folder = write_folder(tmp_path_factory.mktemp("kuairand"), [log_row(**row) for row in log])
    longest: dict[tuple[str, str, int], int] = {}
    for u, v, t, play, _ in rows:
        longest[str(u), str(v), t] = max(play, longest.get((str(u), str(v), t), 0))
    table = pa.Table.from_batches(KuaiRand(folder).events())
    sessions: dict[str, list[dict[str, Any]]] = {}
    for event in table.to_pylist():
        sessions.setdefault(event["session_id"], []).append(event)
    spans = {}
    for events in sessions.values():
        ms = [round(event["impression_timestamp"].timestamp() * 1000) for event in events]
        assert ms == sorted(ms)
        assert (events[0]["event_type"] == "view_start") == (ms[-1] > ms[0])
        spans[events[0]["user_id"], events[0]["video_id"], ms[0] - T0] = ms[-1] - ms[0]
    assert spans == longest
