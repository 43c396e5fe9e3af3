"""Simulated traffic, with pauses, seeks, reactions, late, repeated, broken events: its features agree with pandas."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ingestion.load import load
from ingestion.simulator import Simulator

from .agreement import build_features, disagreements
from .pandas_features import HOUR_MS, Rows, World, sessions_of
from .warehouse import Warehouse

IDS = ["session_id", "user_id", "video_id"]
SINCE_2000_MS = 946_684_800_000


@pytest.fixture(scope="module")
def source() -> Simulator:
    return Simulator(scale=0.1)


@pytest.fixture(scope="module")
def world(source: Simulator) -> World:
    profiles = _by_id(source.users(), "user_id")
    metadata = _by_id(source.videos(), "video_id")
    for row in metadata.values():
        row["catalogue_view_count"] = row.pop("view_count")
        row["catalogue_like_count"] = row.pop("like_count")
    return World(_events(source), profiles, metadata)


@pytest.fixture(scope="module")
def built(shared_warehouse: Warehouse, source: Simulator) -> Warehouse:
    """The traffic, loaded in the order of its arrival, and built."""
    shared_warehouse.clear()
    load(shared_warehouse.settings, source)
    shared_warehouse.dbt("run", "-s", "staging", "intermediate", "marts")
    return shared_warehouse


def _by_id(table: pa.Table, key: str) -> Rows:
    for name in table.column_names:  # instants as milliseconds
        if pa.types.is_timestamp(table[name].type):
            at = table.column_names.index(name)
            table = table.set_column(at, name, table[name].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()))
    return {row.pop(key): row for row in table.to_pylist()}


def _events(source: Simulator) -> pd.DataFrame:
    """What the contract allows, once each: no event without a user, with a rank below 0 or of 1970."""
    table = pa.Table.from_batches(source.events())
    frame = pd.DataFrame(
        {
            **{name: table[name].to_pylist() for name in ("event_id", *IDS)},
            "at": table["impression_timestamp"].cast(pa.int64()).to_pylist(),
            "kind": pc.cast(table["event_type"], pa.string()).to_pylist(),
            "position": table["playback_position_ms"].to_pandas(),
            "position_index": table["position_index"].to_pylist(),
            "scrolled_to": (table["position_index"].to_numpy() > 0)
            | (table["scroll_speed_ms"].to_numpy() > 0),
        }
    )
    fine = (frame["user_id"] != "") & (frame["position_index"] >= 0) & (frame["at"] >= SINCE_2000_MS)
    assert (~fine).sum() >= 3
    frame = frame[fine].drop_duplicates("event_id")
    return frame.assign(session=frame.groupby(IDS).ngroup())


def test_every_session_is_what_a_walk_over_its_events_gives(built: Warehouse, world: World) -> None:
    expected = sessions_of(world, world.events).sort_values("session")
    ids = world.events.drop_duplicates("session").sort_values("session")[IDS].reset_index(drop=True)
    names = ["watch_ms", "effective_ms", "finished", "valid", "plays", "scrolled_in", "scrolled_out", "completed",
             "likes", "comments", "shares", "saves"]  # fmt: skip
    actual = built.client.query_df(
        "SELECT session_id, user_id, video_id, total_watch_time_ms, effective_watch_time_ms, is_finished,"
        " is_valid_view, was_played, scrolled_in, scrolled_out, exit_reason = 'end_video', num_likes, num_comments,"
        " num_shares, num_saves FROM watch_sessions"
    )
    actual.columns = pd.Index([*IDS, *names])
    actual = actual.sort_values(IDS).reset_index(drop=True)
    told = (
        pd.concat([ids, expected[names].reset_index(drop=True)], axis=1)
        .sort_values(IDS)
        .reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(actual, told, check_dtype=False)
    # There is something to get wrong: pauses, seeks back, reactions.
    assert (told["effective_ms"] < told["watch_ms"]).sum() > 100
    assert (told[["likes", "comments", "shares", "saves"]].sum() > 0).all()


@pytest.mark.parametrize(
    "as_of",
    [
        None,
        "2025-06-27 00:00:00.000",
        "2025-06-27 12:00:00.000",
        "2025-07-26 12:00:00.000",  # the window begins on 2025-06-27
    ],
)
def test_features_agree_with_pandas_for_everyone(built: Warehouse, world: World, as_of: str | None) -> None:
    clock = build_features(built, as_of)
    users, videos = sorted(world.profiles), sorted(world.metadata)
    assert disagreements(built, world, users, videos, clock)[:10] == []


def test_features_of_a_moment_amid_a_session_see_it_as_the_hour_before_left_it(
    built: Warehouse, world: World
) -> None:
    events = world.events.sort_values("at")
    hours = events["at"] // HOUR_MS
    # Sessions with an event in one hour and several in a later one: the moment is before the last of them.
    first, last = (
        hours.groupby(events["session"]).transform("min"),
        hours.groupby(events["session"]).transform("max"),
    )
    late = events[(hours > first) & (hours == last)].groupby("session")["at"].agg(["min", "max"])
    late = late[late["max"] > late["min"]]
    moment = int(late["max"].iloc[0]) - 1
    clock = build_features(built, str(pd.Timestamp(moment, unit="ms")))
    assert disagreements(built, world, sorted(world.profiles), sorted(world.metadata), clock)[:10] == []
