"""Postgres says what the warehouse says: only where it did not, whatever happened before."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from clickhouse_connect.driver.client import Client
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ingestion import write_back as module
from ingestion.errors import StoreUnreachableError
from ingestion.write_back import COUNTERS, ENGAGEMENT, WriteBackReport, write_back
from stack.clients import postgres_engine
from stack.settings import Settings
from tests.conftest import free_ports

OLD = datetime.fromisoformat("2020-01-01T00:00:00+00:00")


@pytest.fixture(autouse=True)
def marts(client: Client) -> Iterator[None]:
    """The two tables of dbt that are written back."""
    for name, columns in {
        "user_engagement": "user_id String, engagement_score Float64",
        "trending_videos": (
            "video_id String, is_trending Bool, plays_cumulative UInt64, likes_cumulative UInt64"
        ),
    }.items():
        client.command(f"CREATE OR REPLACE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
    yield
    client.command("DROP TABLE user_engagement")
    client.command("DROP TABLE trending_videos")


def run(stores: Settings, statement: str, **values: object) -> list[tuple]:
    engine = postgres_engine(stores)
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def add_users(stores: Settings, *ids: str, score: float = 0) -> None:
    for name in ids:
        run(
            stores,
            "INSERT INTO users (user_id, engagement_score, region, updated_at) VALUES (:id, :score, 'EU', :old)",
            id=name,
            score=score,
            old=OLD,
        )


def scores(stores: Settings) -> dict[str, float]:
    return dict(run(stores, "SELECT user_id, engagement_score FROM users"))  # type: ignore[arg-type]


def touched(stores: Settings, table: str, key: str) -> set[str]:
    return {row[0] for row in run(stores, f"SELECT {key} FROM {table} WHERE updated_at > :old", old=OLD)}


def counts(report: WriteBackReport) -> tuple[int, int, int, int, int]:
    return report.rows, report.unknown, report.changed, report.reset, report.batches


def test_scores_are_written_and_those_whose_sessions_left_the_window_are_0_again(
    stores: Settings, client: Client
) -> None:
    add_users(stores, "new", "idle")
    add_users(stores, "same", "changed", "left", score=0.5)
    client.insert("user_engagement", [["new", 0.37], ["same", 0.5], ["changed", 1.75]])
    report = write_back(stores, ENGAGEMENT)
    assert scores(stores) == {"new": 0.37, "idle": 0, "same": 0.5, "changed": 1.75, "left": 0}
    assert counts(report) == (3, 0, 3, 1, 1)


def test_only_rows_that_change_are_rewritten_and_no_other_column(stores: Settings, client: Client) -> None:
    add_users(stores, "same", score=0.5)
    add_users(stores, "changed")
    client.insert("user_engagement", [["same", 0.5], ["changed", 0.25]])
    write_back(stores, ENGAGEMENT)
    assert touched(stores, "users", "user_id") == {"changed"}
    assert run(stores, "SELECT DISTINCT region, gender, age FROM users") == [("EU", "unknown", None)]


def test_again_it_does_nothing(stores: Settings, client: Client) -> None:
    add_users(stores, "a", "b", score=0.5)
    client.insert("user_engagement", [["a", 0.1]])
    assert counts(write_back(stores, ENGAGEMENT)) == (1, 0, 2, 1, 1)
    first = run(stores, "SELECT user_id, updated_at, xmin::text FROM users ORDER BY 1")
    assert counts(write_back(stores, ENGAGEMENT)) == (1, 0, 0, 0, 0)
    assert run(stores, "SELECT user_id, updated_at, xmin::text FROM users ORDER BY 1") == first


def test_users_that_postgres_does_not_have_or_cannot_hold_are_counted(
    stores: Settings, client: Client
) -> None:
    add_users(stores, 'quote"s, and\ncommas', "", "NULL")
    rows = ['quote"s, and\ncommas', "", "NULL", "stranger", "nul\0byte"]
    client.insert("user_engagement", [[name, 0.5] for name in rows])
    client.command("INSERT INTO user_engagement SELECT unhex('ff'), 0.5")
    report = write_back(stores, ENGAGEMENT)
    assert counts(report) == (6, 3, 3, 0, 1)
    assert scores(stores) == {'quote"s, and\ncommas': 0.5, "": 0.5, "NULL": 0.5}


def test_videos_get_our_own_counts_in_place_of_the_catalogues(stores: Settings, client: Client) -> None:
    for name, trending, views in (("hot", False, 9_000_000), ("was_hot", True, 7), ("same", True, 5)):
        run(
            stores,
            "INSERT INTO videos (video_id, creator_id, title, is_trending, view_count, like_count, updated_at) "
            "VALUES (:id, 'c', 'Cats', :trending, :views, 2, :old)",
            id=name,
            trending=trending,
            views=views,
            old=OLD,
        )
    client.insert("trending_videos", [["hot", True, 12, 3], ["same", True, 5, 2], ["unlisted", False, 1, 0]])
    report = write_back(stores, COUNTERS)
    assert counts(report) == (3, 1, 2, 1, 1)
    assert run(
        stores, "SELECT video_id, is_trending, view_count, like_count, title FROM videos ORDER BY 1"
    ) == [
        ("hot", True, 12, 3, "Cats"),
        ("same", True, 5, 2, "Cats"),
        ("was_hot", False, 0, 0, "Cats"),
    ]
    assert touched(stores, "videos", "video_id") == {"hot", "was_hot"}


def test_killed_between_batches_the_next_run_does_the_rest(
    stores: Settings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"u{i:02}" for i in range(25)]
    add_users(stores, *names)
    client.insert("user_engagement", [[name, 0.5] for name in reversed(names)])
    update, calls = module._update, 0

    def dies_in_the_third(*arguments: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return update(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "_update", dies_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            write_back(stores, ENGAGEMENT, batch_rows=10)
    assert sorted(scores(stores).items()) == [
        (n, 0.5 if n < "u20" else 0) for n in names
    ]  # in order of the id
    assert counts(write_back(stores, ENGAGEMENT, batch_rows=10)) == (25, 0, 5, 0, 1)
    assert set(scores(stores).values()) == {0.5}


def test_a_row_that_another_transaction_holds_is_waited_for_not_lost(
    stores: Settings, client: Client
) -> None:
    import threading

    add_users(stores, "a", "b")
    client.insert("user_engagement", [["a", 0.5], ["b", 0.5]])
    engine = postgres_engine(stores)
    with engine.connect() as other:
        other.execute(text("UPDATE users SET region = 'US' WHERE user_id = 'b'"))
        thread = threading.Thread(target=write_back, args=(stores, ENGAGEMENT))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        other.commit()
        thread.join(20)
    engine.dispose()
    assert run(stores, "SELECT user_id, engagement_score, region FROM users ORDER BY 1") == [
        ("a", 0.5, "EU"),
        ("b", 0.5, "US"),
    ]


def test_a_duplicate_in_the_warehouse_is_refused_before_anything_is_written(
    stores: Settings, client: Client
) -> None:
    add_users(stores, "a")
    client.insert("user_engagement", [["a", 0.5], ["a", 0.7]])
    with pytest.raises(IntegrityError, match="could not create unique index"):
        write_back(stores, ENGAGEMENT)
    assert scores(stores) == {"a": 0}


def test_a_postgres_that_is_down_is_named(stores: Settings) -> None:
    [port] = free_ports(1)
    away = f"postgresql://reelgraph@127.0.0.1:{port}/nowhere"
    with pytest.raises(StoreUnreachableError, match=f"127.0.0.1:{port}"):
        write_back(stores.model_copy(update={"database_url_override": away}), ENGAGEMENT)
