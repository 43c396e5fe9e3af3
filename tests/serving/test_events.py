"""The event routes in process: what is accepted is on disk, and what is not is named."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from data_quality.event_values import EventType
from ingestion.event_checks import fault
from serving import bento
from serving.api.app import create_app
from serving.api.state import State
from serving.context.change import Act
from serving.events.enrich import session_of
from serving.events.intake import EventIntake
from serving.events.schemas import BatchAnswer, TrackAnswer
from serving.gateway import Gateway
from serving.live import LiveBundle
from serving.security.gate import Security
from serving.spool.segments import OpenSegment
from serving.spool.spool import SpoolFullError
from stack.settings import Settings

from .conftest import free_port, wait_for

TRACK, BATCH = "/api/v1/events/track", "/api/v1/events/batch"
GOOD = {"user_id": "ann", "video_id": "v1", "event_type": "like"}


class Context:
    """Stands for Redis, which has tests of its own."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.saved = True

    async def record_all(self, acts: Any) -> bool:
        self.acts += acts
        return self.saved


class Cache:
    def __init__(self) -> None:
        self.dropped: list[str] = []

    def drop(self, user_id: str) -> None:
        self.dropped.append(user_id)


@pytest.fixture
def lonely(home: Settings) -> Settings:
    """No ClickHouse and no Postgres anywhere."""
    return home.model_copy(update={"clickhouse_port": free_port(), "postgres_port": free_port()})


@pytest.fixture
def state(lonely: Settings) -> State:
    state = State()
    state.live = LiveBundle(lonely, state.metrics)
    state.context, state.cache = Context(), Cache()  # type: ignore[assignment]
    state.events = EventIntake(lonely, state)
    return state


@pytest.fixture
def app(state: State) -> FastAPI:
    return create_app(state)


@pytest.fixture
def client(state: State, app: FastAPI) -> Iterator[TestClient]:
    with TestClient(Gateway(app, state.metrics), raise_server_exceptions=False) as client:
        assert state.events is not None
        state.events.start()
        yield client
        assert client.portal is not None
        state.events._spool._shipper.finish(0)
        client.portal.call(state.events._spool.stop, 0)


@pytest.fixture
def serving(lonely: Settings, state: State, shelved: Any) -> None:
    bento.publish(lonely, shelved("a"))
    assert state.live is not None
    state.live.check()


def spooled(lonely: Settings) -> list[dict[str, Any]]:
    files = [*lonely.spool_dir.rglob("*.open"), *lonely.spool_dir.rglob("*.jsonl")]
    lines = [
        line for path in sorted(files, key=lambda path: path.stem) for line in path.read_bytes().splitlines()
    ]
    return [json.loads(line) for line in lines]


def refused(response: Any, status: int) -> dict[str, str]:
    """The fields that a problem names, with what is wrong."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return {error["field"]: error["message"] for error in response.json()["errors"]}


def test_an_event_is_on_disk_and_in_the_session(client, state, lonely, serving):
    at = "2026-05-01T23:30:00.123+02:00"
    sent = {
        **GOOD,
        "event_id": "0B8B1A52-6F0E-4C1C-9A43-5B7F1F1C2D3E",
        "impression_timestamp": at,
        "request_id": "r-1",
    }
    response = client.post(TRACK, json=sent)
    assert response.status_code == 202
    answer = response.json()
    TrackAnswer.model_validate(answer)
    assert answer == {
        "request_id": response.headers["x-request-id"],
        "event_id": "0b8b1a52-6f0e-4c1c-9a43-5b7f1f1c2d3e",
        "accepted": True,
        "shown_by": "r-1",
        "notes": [],
    }
    [row] = spooled(lonely)
    at_ms = int(datetime(2026, 5, 1, 21, 30, tzinfo=UTC).timestamp() * 1000) + 123
    arrived = row.pop("created_at")
    assert abs(arrived - datetime.now(UTC).timestamp() * 1000) < 60_000
    assert row == {
        "event_id": "0b8b1a52-6f0e-4c1c-9a43-5b7f1f1c2d3e",
        **GOOD,
        "session_id": session_of("ann", at_ms),
        "position_index": 0,
        "impression_timestamp": at_ms,
        "scroll_speed_ms": 0.0,
        "playback_position_ms": None,
        "device_type": "web",
        "network_type": "other",
        "geo_location": "",
        "time_of_day": 21,
        "day_of_week": 5,
        "request_id": "r-1",
    }
    assert fault({**row, "created_at": arrived}) is None
    assert state.context.acts == [Act("ann", "v1", "like", at_ms, "dogs")]
    assert state.cache.dropped == []  # Redis has done it


def test_where_redis_knows_nothing_of_it_the_cache_is_told(client, state):
    state.context.saved = False
    assert client.post(TRACK, json=GOOD).status_code == 202
    assert state.cache.dropped == ["ann"]
    state.context = None
    assert client.post(TRACK, json={**GOOD, "user_id": "bob"}).status_code == 202
    assert state.cache.dropped == ["ann", "bob"]


def test_without_a_bundle_events_are_taken_all_the_same(client, state, lonely):
    assert client.post(TRACK, json=GOOD).status_code == 202
    assert state.context.acts[0].category is None
    UUID(spooled(lonely)[0]["event_id"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_type": "stare"}, "event_type"),
        ({"event_type": None}, "event_type"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 201}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"video_id": "a\nb"}, "video_id"),
        ({"event_id": "not-a-uuid"}, "event_id"),
        ({"position_index": -1}, "position_index"),
        ({"position_index": "3"}, "position_index"),
        ({"position_index": 2**31}, "position_index"),
        ({"scroll_speed_ms": 1e10}, "scroll_speed_ms"),
        ({"playback_position_ms": 0.5}, "playback_position_ms"),
        ({"device_type": "tv"}, "device_type"),
        ({"geo_location": "x" * 101}, "geo_location"),
        ({"request_id": "a b"}, "request_id"),
        ({"impression_timestamp": 1_714_564_800}, "impression_timestamp"),  # seconds
        ({"impression_timestamp": "2026-05-01T12:00:00"}, "impression_timestamp"),  # no zone
        ({"impression_timestamp": "yesterday"}, "impression_timestamp"),
        ({"impression_timestamp": "0001-01-01T00:00:00+23:59"}, "impression_timestamp"),
        ({"impression_timestamp": True}, "impression_timestamp"),
        ({"wrong": 1}, "wrong"),
    ],
)
def test_a_bad_event_is_refused_by_its_field_and_nothing_is_kept(client, state, lonely, change, field):
    assert list(refused(client.post(TRACK, json={**GOOD, **change}), 422)) == [field]
    assert spooled(lonely) == []
    assert state.context.acts == []


def test_a_clock_that_is_ahead_is_set_right_and_said_but_a_day_is_too_much(client, lonely):
    ahead = datetime.now(UTC) + timedelta(hours=23)
    answer = client.post(TRACK, json={**GOOD, "impression_timestamp": ahead.isoformat()}).json()
    assert answer["notes"] == ["impression_timestamp is in the future: taken as now"]
    [row] = spooled(lonely)
    assert row["impression_timestamp"] == row["created_at"]

    too_far = {**GOOD, "impression_timestamp": (ahead + timedelta(hours=2)).isoformat()}
    assert refused(client.post(TRACK, json=too_far), 422) == {
        "impression_timestamp": "must not lie more than 24 h in the future"
    }


def test_a_batch_takes_the_good_and_names_the_bad_by_index_and_field(client, state, lonely):
    events = [GOOD, {**GOOD, "event_type": "stare"}, 5, {**GOOD, "user_id": "bob", "video_id": "v2"}]
    state.context.saved = False
    response = client.post(BATCH, json={"events": events})
    assert response.status_code == 207
    answer = response.json()
    BatchAnswer.model_validate(answer)
    assert (answer["accepted"], answer["rejected"]) == (2, 2)
    assert [result["accepted"] for result in answer["results"]] == [True, False, False, True]
    assert [[e["field"] for e in result["errors"]] for result in answer["results"]] == [
        [],
        ["event_type"],
        ["body"],
        [],
    ]
    assert [row["user_id"] for row in spooled(lonely)] == ["ann", "bob"]
    assert [row["event_id"] for row in spooled(lonely)] == [answer["results"][i]["event_id"] for i in (0, 3)]
    assert sorted(state.cache.dropped) == ["ann", "bob"]


def test_a_batch_of_good_events_is_accepted_and_one_of_bad_ones_refused(client, lonely):
    response = client.post(BATCH, json={"events": [GOOD] * 1000})
    assert response.status_code == 202
    assert len({result["event_id"] for result in response.json()["results"]}) == 1000
    assert len(spooled(lonely)) == 1000
    found = refused(client.post(BATCH, json={"events": [{**GOOD, "device_type": "tv"}, {}]}), 422)
    assert set(found) == {
        "events.0.device_type", "events.1.user_id", "events.1.video_id", "events.1.event_type",
    }  # fmt: skip
    assert list(refused(client.post(BATCH, json={"events": [GOOD] * 1001}), 422)) == ["events"]
    assert list(refused(client.post(BATCH, json={"events": []}), 422)) == ["events"]


def test_a_large_batch_leaves_the_event_loop_to_others_in_between(app, state, lonely):
    async def run() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        async def none(lines: object) -> None:
            return None

        state.events._spool.all_durable = none  # judging alone, no disk
        transport = httpx.ASGITransport(Gateway(app, state.metrics))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            ticker = asyncio.create_task(tick())
            few = (await client.post(BATCH, json={"events": [GOOD]})).status_code
            before = ticks
            many = (await client.post(BATCH, json={"events": [GOOD] * 1000})).status_code
            ticker.cancel()
        assert (few, many) == (202, 202)
        return before, ticks - before

    few, many = asyncio.run(run())
    assert many >= few + 15


def test_nobody_tracks_for_another_user(client, state, lonely, monkeypatch):
    state.security = Security(lonely, state.metrics)
    monkeypatch.setattr(state.security, "may_act_for", lambda request, user_id: user_id == "ann")
    assert client.post(TRACK, json=GOOD).status_code == 202
    bobs = {**GOOD, "user_id": "bob"}
    assert list(refused(client.post(TRACK, json=bobs), 403)) == ["user_id"]
    assert list(refused(client.post(BATCH, json={"events": [bobs]}), 403)) == ["events.0.user_id"]
    response = client.post(BATCH, json={"events": [bobs, GOOD]})
    assert [result["accepted"] for result in response.json()["results"]] == [False, True]
    assert {row["user_id"] for row in spooled(lonely)} == {"ann"}


def test_of_an_erased_user_nothing_is_kept_but_the_count(client, state, lonely, monkeypatch):
    monkeypatch.setattr(state, "known_as", lambda user_id: "" if user_id == "ann" else user_id)
    assert list(refused(client.post(TRACK, json=GOOD), 403)) == ["user_id"]
    response = client.post(BATCH, json={"events": [GOOD, {**GOOD, "user_id": "bob"}, GOOD]})
    assert response.status_code == 207
    assert [row.get("user_id", row.get("refused")) for row in spooled(lonely)] == [
        "erased user", "erased user", "erased user", "bob",
    ]  # fmt: skip
    assert "ann" not in str(spooled(lonely))
    assert {act.user_id for act in state.context.acts} == {"bob"}


def test_a_full_disk_is_said_with_a_time_to_come_back(client, state, monkeypatch):
    async def full(lines: object) -> None:
        raise SpoolFullError("no room")

    monkeypatch.setattr(state.events._spool, "all_durable", full)
    for path, body in ((TRACK, GOOD), (BATCH, {"events": [GOOD]})):
        response = client.post(path, json=body)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert "the disk is full" in response.json()["detail"]
    assert state.context.acts == []


def test_a_disk_that_hangs_keeps_nobody_waiting(client, state, monkeypatch):
    async def hang(lines: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("serving.events.intake.DURABLE_S", 0.05)
    monkeypatch.setattr(state.events._spool, "all_durable", hang)
    response = client.post(TRACK, json=GOOD)
    assert response.status_code == 503
    assert "too slow" in response.json()["detail"]


def test_what_a_slow_disk_took_too_late_counts_once_as_the_answer_names_the_id_it_has(
    client, state, lonely, monkeypatch
):
    """Also for a client that gave none."""
    monkeypatch.setattr("serving.events.intake.DURABLE_S", 0.05)
    write = OpenSegment.write

    def slow(segment: OpenSegment, content: bytes, lines: int, *, sync: bool) -> None:
        time.sleep(0.3)
        write(segment, content, lines, sync=sync)

    monkeypatch.setattr(OpenSegment, "write", slow)
    one = client.post(TRACK, json=GOOD)
    many = client.post(BATCH, json={"events": [GOOD, {**GOOD, "user_id": ""}]})
    assert (one.status_code, many.status_code) == (503, 503)
    wait_for(lambda: len(spooled(lonely)) == 2, "the late events")
    first, second = (row["event_id"] for row in spooled(lonely))
    assert one.json()["event_id"] == first
    assert many.json()["event_ids"] == [second, None]
    for response in (one, many):
        assert "perhaps not stored, send it again under" in response.json()["detail"]


def test_an_endpoint_that_is_starting_says_so(client, state):
    intake, state.events = state.events, None
    assert client.post(TRACK, json=GOOD).status_code == 503
    assert client.post(BATCH, json={"events": [GOOD]}).status_code == 503
    state.events = intake


def test_metrics_count_by_type_and_result_and_hold_no_id(client, state):
    client.post(TRACK, json={**GOOD, "user_id": "somebody-secret"})
    client.post(BATCH, json={"events": [{**GOOD, "event_type": "stare"}]})
    value = state.metrics.registry.get_sample_value
    assert value("reelgraph_events_total", {"event_type": "like", "result": "accepted"}) == 1
    assert value("reelgraph_events_total", {"event_type": "unknown", "result": "invalid"}) == 1
    assert b"somebody-secret" not in state.metrics.render()


def test_the_description_says_what_the_routes_answer(app):
    content = app.openapi()
    track = content["paths"][TRACK]["post"]
    assert {"202", "400", "403", "422", "503"} <= set(track["responses"])
    batch = content["paths"][BATCH]["post"]
    assert {"202", "207", "400", "403", "422", "503"} <= set(batch["responses"])
    events = content["components"]["schemas"]["BatchRequest"]["properties"]["events"]
    assert events["items"] == {"$ref": "#/components/schemas/TrackRequest"}
    assert content["components"]["schemas"]["TrackRequest"]["examples"][0]["event_type"] == "like"


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = ("event_id", "user_id", "video_id", "session_id", "event_type", "position_index", "impression_timestamp",
          "scroll_speed_ms", "playback_position_ms", "device_type", "geo_location", "request_id", "\ud800")  # fmt: skip


@pytest.fixture(scope="module")
def one_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Path]]:
    home = tmp_path_factory.mktemp("events")
    ports = {"clickhouse_port": free_port(), "postgres_port": free_port()}
    settings = Settings(_env_file=None, home=home, development=True, **ports)  # type: ignore[call-arg,arg-type]
    state = State()
    state.events = EventIntake(settings, state)
    with TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False) as client:
        state.events.start()
        yield client, home
        assert client.portal is not None
        client.portal.call(state.events._spool.stop, 0)


@examples(max_examples=200, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3),
    kind=st.sampled_from([kind.value for kind in EventType]),
)
def test_any_input_is_accepted_or_named_and_what_is_accepted_keeps_the_contract(one_client, changes, kind):
    client, home = one_client
    event = {**GOOD, "event_type": kind, **changes}
    body = json.dumps({"events": [event]})
    batch = client.post(BATCH, content=body, headers={"content-type": "application/json"})
    single = client.post(TRACK, content=json.dumps(event), headers={"content-type": "application/json"})
    assert single.status_code in (202, 400, 422)
    assert batch.status_code == single.status_code
    if single.status_code == 202:
        [newest] = home.rglob("*.open")
        assert fault(json.loads(newest.read_bytes().splitlines()[-1])) is None
    else:
        assert batch.headers["content-type"] == "application/problem+json"
