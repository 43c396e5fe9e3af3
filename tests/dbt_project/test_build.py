"""The whole project, built from hand-written events on the real stores: exact rows, and no change the second time."""

from datetime import UTC, datetime, timedelta

import pytest

from .warehouse import T0, Event, Warehouse

SESSIONS = [
    # Paused for 6 s, liked, finished a second after midnight + 10.
    Event("watched", "view_start", 0),
    Event("watched", "pause", 4),
    Event("watched", "resume", 10),
    Event("watched", "like", 12),
    Event("watched", "view_end", 30),
    # Scrolled to, then back by 6 s, left by a click.
    Event("sought", "view_start", 100, user="u2", feed_rank=3, scroll=250.0),
    Event("sought", "seek", 110, 4000, user="u2", feed_rank=3),
    Event("sought", "click", 120, 14000, user="u2", feed_rank=3),
    # Never played.
    Event("passed", "scroll_pass", 200, user="u2", video="v2", feed_rank=4),
    # A video of unknown length that no catalogue has, by a user without profile; no end.
    Event("open", "view_start", 300, user="stranger", video="unlisted"),
    Event("open", "share", 306, user="stranger", video="unlisted"),
]

INSERTED_BLOCKS = (
    "SELECT table, partition, min_block_number, max_block_number FROM system.parts"
    " WHERE database = currentDatabase() AND active"
    " AND table IN ('int_session_states', 'int_daily_user_activity', 'int_daily_video_activity') ORDER BY ALL"
)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.fixture
def world(warehouse: Warehouse) -> Warehouse:
    warehouse.catalogue(
        "INSERT INTO users (user_id, created_at, age, gender, language, interested_categories, region) VALUES "
        "('u1', '2022-04-21 22:00:00+00', 30, 'female', 'en', '{music,cats}', 'EU'), "
        "('u2', NULL, NULL, 'male', '', '{}', '')"
    )
    warehouse.catalogue(
        "INSERT INTO videos "
        "(video_id, creator_id, title, tags, duration_ms, upload_time, like_count, is_trending) VALUES "
        "('v1', 'c1', 'Cats', '{cat,pet}', 40000, '2022-04-01 08:30:00.125+00', 9, true), "
        "('v2', 'c2', 'Dogs', '{}', NULL, NULL, 0, false), ('unseen', 'c2', '', '{}', 5000, NULL, 0, false)"
    )
    warehouse.add(SESSIONS)
    return warehouse


def test_build_gives_exact_rows_and_a_second_one_changes_nothing(world: Warehouse) -> None:
    statuses, trouble = world.try_dbt("build")
    warned = [line.split(":")[0] for line in trouble]
    # The stranger and the unlisted video are worth a warning; everything else passes, unit tests too.
    assert sorted(warned) == [
        "relationships_watch_sessions_user_id__user_id__ref_stg_users_",
        "relationships_watch_sessions_video_id__video_id__ref_stg_videos_",
    ]
    assert sum(name.startswith("int_session_events_") for name in statuses) == 5

    sessions = world.rows(
        "SELECT session_id, started_at, ended_at, total_watch_time_ms, effective_watch_time_ms, video_duration_ms,"
        " watch_time_ratio, is_finished, is_valid_view, num_pauses, num_resumes, num_replays, scrolled_in,"
        " scrolled_out, exit_reason FROM watch_sessions ORDER BY started_at"
    )
    assert sessions == [
        ("watched", at(0), at(30), 30000, 24000, 40000, 0.75, 0, 1, 1, 1, 0, 0, 0, "end_video"),
        ("sought", at(100), at(120), 20000, 14000, 40000, 0.5, 0, 1, 0, 0, 0, 1, 0, "click_other"),
        ("passed", at(200), at(200), 0, 0, 60000, 0.0, 0, 0, 0, 0, 0, 1, 1, "scroll"),
        ("open", at(300), at(306), 6000, 6000, 60000, 0.1, 0, 1, 0, 0, 0, 0, 0, "close_app"),
    ]
    assert world.rows("SELECT * FROM interactions ORDER BY started_at") == [
        ("watched", "u1", "v1", at(0), at(30), 30000, 40000, 0.75, 1, 0, 0, 0, 0, 1, 3.75, 1.75),
        ("sought", "u2", "v1", at(100), at(120), 20000, 40000, 0.5, 0, 0, 0, 0, 0, 0, 2.5, 0.5),
        ("passed", "u2", "v2", at(200), at(200), 0, 60000, 0.0, 0, 0, 0, 0, 0, 0, 0.0, 0.0),
        ("open", "stranger", "unlisted", at(300), at(306), 6000, 60000, 0.1, 0, 0, 1, 0, 0, 1, 0.5, 1.1),
    ]
    now = at(306)  # the data's own clock: its newest event
    assert world.rows("SELECT * FROM user_features ORDER BY user_id") == [
        ("stranger", now, 1, 0.1, 6000, 1, ["unlisted"], 0, 1, 6000.0, None, None, None, "unknown", "", [], None, "",
         [], 0.4, ""),
        ("u1", now, 1, 0.75, 30000, 1, ["v1"], 0, 1, 24000.0, 11, datetime(2022, 4, 21, 22, tzinfo=UTC), 30,
         "female", "en", ["music", "cats"], 0, "unknown", [], 1.3, "EU"),
        ("u2", now, 2, 0.25, 20000, 1, ["v1"], 0, 1, 7000.0, None, None, None, "male", "", [], 0, "unknown", [],
         0.0, ""),
    ]  # fmt: skip
    assert world.rows(
        "SELECT video_id, total_sessions, avg_completion_ratio, unique_viewers, finished_count, valid_view_count,"
        " avg_watch_time_ms, scroll_in_count, completed_sessions, scrolled_away_count, like_count, share_count,"
        " comment_count, save_count, retention_rate, engagement_rate, plays_7d, plays_cumulative, title, upload_time,"
        " duration_ms, tags, is_trending, catalogue_like_count FROM video_features ORDER BY video_id"
    ) == [
        ("unlisted", 1, 0.1, 1, 0, 1, 6000.0, 0, 0, 0, 0, 1, 0, 0, 0.0, 1.0, 1, 1, "", None, None, [], False, 0),
        ("unseen", 0, None, 0, 0, 0, None, 0, 0, 0, 0, 0, 0, 0, None, None, 0, 0, "", None, 5000, [], False, 0),
        ("v1", 2, 0.625, 2, 0, 2, 25000.0, 1, 1, 0, 1, 0, 0, 0, 0.5, 0.5, 2, 2, "Cats",
         datetime(2022, 4, 1, 8, 30, 0, 125000, tzinfo=UTC), 40000, ["cat", "pet"], True, 9),
        ("v2", 1, 0.0, 1, 0, 0, 0.0, 1, 0, 1, 0, 0, 0, 0, 0.0, 0.0, 0, 0, "Dogs", None, None, [], False, 0),
    ]  # fmt: skip

    assert world.rows("SELECT * FROM user_engagement ORDER BY user_id") == [
        ("stranger", now, 1, 0, 0, 1, 0, 0.4),
        ("u1", now, 1, 1, 1, 0, 0, 1.3),
        ("u2", now, 2, 0, 0, 0, 0, 0.0),
    ]
    assert world.rows("SELECT * FROM trending_videos ORDER BY rank") == [
        ("v1", now, 2, 2, 1, 1, True),
        ("unlisted", now, 1, 1, 0, 2, True),
        ("v2", now, 0, 0, 0, 3, False),
    ]

    tables = sorted(world.tables() - {"int_daily_video_activity"})  # that one is compared by its blocks
    before = {table: world.everything(table) for table in tables}
    blocks = world.rows(INSERTED_BLOCKS)
    world.try_dbt("build", "--exclude-resource-type", "unit_test")
    assert {table: world.everything(table) for table in tables} == before
    assert world.rows(INSERTED_BLOCKS) == blocks  # not merely the same rows again: none was inserted


def test_as_of_of_an_earlier_day_hides_what_came_later(world: Warehouse) -> None:
    world.dbt("run", "-s", "+user_features")
    world.dbt("run", "-s", "user_engagement", "user_features", as_of=f"{at(119):%Y-%m-%d %H:%M:%S}")
    assert world.rows("SELECT user_id, total_sessions, as_of FROM user_features ORDER BY user_id") == [
        ("u1", 1, at(119)),
        ("u2", 0, at(119)),
    ]


def test_an_event_from_the_future_moves_no_window(world: Warehouse) -> None:
    world.dbt("run", "-s", "+user_features")
    before = world.everything("user_features")
    world.add([Event("far", "view_start", 86_400 * 365 * 60, user="u1", video="v1")])
    world.dbt("run", "-s", "+user_features")
    assert world.everything("user_features") == before


def test_no_events_at_all_build_into_empty_tables(warehouse: Warehouse) -> None:
    warehouse.dbt("build", "--exclude-resource-type", "unit_test")
    names = ["watch_sessions", "int_session_changes", "interactions", *warehouse.tables()]
    assert warehouse.rows(" UNION ALL ".join(f"SELECT count() FROM {name}" for name in names)) == [
        (0,)
    ] * len(names)
