"""The contract of events, users and videos: what it says, and how rows are judged by it."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_quality.contract_checks import check_batch, require_valid
from data_quality.contracts import (
    ARRIVAL,
    EVENTS,
    TERMINAL_EVENTS,
    USERS,
    VIDEOS,
    DeviceType,
    EventType,
    FieldMissingError,
    FieldTypeError,
    NetworkType,
    RowInvalidError,
    enum8,
    enum_array,
)

EVENT: dict[str, Any] = {
    "event_id": "0190b2c6-7d2e-8f00-8000-000000000001",
    "user_id": "u1",
    "video_id": "v1",
    "session_id": "s1",
    "event_type": "view_start",
    "position_index": 0,
    "impression_timestamp": datetime(2025, 6, 29, 12, 30, tzinfo=UTC),
    "scroll_speed_ms": 0.0,
    "playback_position_ms": None,
    "device_type": "ios",
    "network_type": "4g",
    "geo_location": "",
    "time_of_day": 12,
    "day_of_week": 7,
    "request_id": "",
}


def events(*changes: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([EVENT | change for change in changes], schema=EVENTS.schema)


def test_the_event_table_is_that_of_requirement_r1_1() -> None:
    columns = [line.strip() for line in EVENTS.clickhouse_columns().split(",\n")]
    assert columns == [
        "`event_id` UUID",
        "`user_id` String",
        "`video_id` String",
        "`session_id` String",
        "`event_type` Enum8('view_start' = 1, 'view_end' = 2, 'scroll_pass' = 3, 'like' = 4, 'comment' = 5, "
        "'share' = 6, 'follow_creator' = 7, 'save' = 8, 'report' = 9, 'pause' = 10, 'resume' = 11, 'seek' = 12, "
        "'replay' = 13, 'click' = 14)",
        "`position_index` Int32",
        "`impression_timestamp` DateTime64(3, 'UTC')",
        "`scroll_speed_ms` Float32",
        "`playback_position_ms` Nullable(Int32)",
        "`device_type` Enum8('ios' = 1, 'android' = 2, 'web' = 3)",
        "`network_type` Enum8('wifi' = 1, '4g' = 2, '5g' = 3, 'other' = 4)",
        "`geo_location` String",
        "`time_of_day` Int8",
        "`day_of_week` Int8",
        "`request_id` String",
    ]
    assert ARRIVAL.name == "created_at"
    assert ARRIVAL.clickhouse.startswith("DateTime64(3, 'UTC')")


def test_an_enum_is_its_string_and_knows_its_code() -> None:
    assert EventType.CLICK == "click"
    assert f"{EventType.CLICK}" == "click"
    assert [kind.code for kind in EventType] == list(range(1, 15))
    assert TERMINAL_EVENTS == ("view_end", "scroll_pass", "click")
    assert enum8(NetworkType) == "Enum8('wifi' = 1, '4g' = 2, '5g' = 3, 'other' = 4)"
    assert enum_array(DeviceType, pa.array([3, 1], pa.int8())).to_pylist() == ["web", "ios"]


def test_good_rows_pass_unchanged() -> None:
    batch = events({}, {"playback_position_ms": 5, "event_type": "click"})
    checked = check_batch(EVENTS, batch)
    assert checked.valid.equals(batch)
    assert checked.rejected == []


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("event_id", "not-a-uuid", "event_id must be a UUID, got 'not-a-uuid'"),
        ("event_id", None, "event_id is missing"),
        ("user_id", "", "user_id must have 1 to 200 characters, got ''"),
        ("video_id", "v" * 201, f"video_id must have 1 to 200 characters, got '{'v' * 100}'"),
        ("session_id", None, "session_id is missing"),
        ("event_type", "wink", f"event_type must be one of {', '.join(EventType)}, got 'wink'"),
        ("position_index", -1, "position_index must be from 0 to 2147483647, got '-1'"),
        (
            "impression_timestamp",
            datetime(1970, 1, 20, tzinfo=UTC),
            "impression_timestamp must lie between the years 2000 and 2100, got '1970-01-20 00:00:00+00:00'",
        ),
        ("scroll_speed_ms", float("nan"), "scroll_speed_ms must be from 0 to 1000000000.0, got 'nan'"),
        ("scroll_speed_ms", float("inf"), "scroll_speed_ms must be from 0 to 1000000000.0, got 'inf'"),
        ("playback_position_ms", -5, "playback_position_ms must be from 0 to 2147483647, got '-5'"),
        ("device_type", "fridge", "device_type must be one of ios, android, web, got 'fridge'"),
        ("network_type", None, "network_type is missing"),
        ("geo_location", None, "geo_location is missing"),
        ("time_of_day", 24, "time_of_day must be from 0 to 23, got '24'"),
        ("day_of_week", 0, "day_of_week must be from 1 to 7, got '0'"),
    ],
)
def test_a_bad_row_is_put_aside_whole_with_its_field_and_reason(field: str, value: Any, reason: str) -> None:
    checked = check_batch(EVENTS, events({"session_id": "before"}, {field: value}, {"session_id": "after"}))
    assert checked.valid["session_id"].to_pylist() == ["before", "after"]
    (bad,) = checked.rejected
    assert (bad.field, bad.reason) == (field, reason)
    assert json.loads(bad.row)["request_id"] == ""
    assert set(json.loads(bad.row)) == set(EVENTS.names)


def test_a_row_with_two_faults_is_reported_once_for_the_first() -> None:
    checked = check_batch(EVENTS, events({"day_of_week": 9, "user_id": ""}))
    assert [bad.field for bad in checked.rejected] == ["user_id"]
    assert checked.valid.num_rows == 0


@given(st.lists(st.integers(-3, 26), max_size=30))
@settings(max_examples=50, deadline=None)
def test_every_row_is_either_valid_or_rejected(hours: list[int]) -> None:
    checked = check_batch(EVENTS, events(*({"time_of_day": hour} for hour in hours)))
    assert checked.valid["time_of_day"].to_pylist() == [hour for hour in hours if 0 <= hour <= 23]
    rejected = [json.loads(bad.row)["time_of_day"] for bad in checked.rejected]
    assert rejected == [hour for hour in hours if not 0 <= hour <= 23]


def test_a_missing_field_is_named() -> None:
    with pytest.raises(FieldMissingError, match="playback_events: field user_id is missing"):
        check_batch(EVENTS, events({}).drop_columns(["user_id"]))


def test_a_field_of_another_type_is_named() -> None:
    batch = events({})
    wrong = batch.set_column(5, "position_index", pa.array(["0"]))
    with pytest.raises(FieldTypeError, match="field position_index must be int32, got string"):
        check_batch(EVENTS, wrong)


def test_fields_beyond_the_contract_are_dropped() -> None:
    checked = check_batch(EVENTS, events({}).append_column("extra", pa.array([1])))
    assert checked.valid.schema.names == EVENTS.names


def user(user_id: str, **changes: Any) -> dict[str, Any]:
    row = {"user_id": user_id, "gender": "unknown", "language": "", "interested_categories": [], "region": ""}
    return row | {"avg_daily_watch_time_ms": 0, "device_type": "", "preferred_creators": []} | changes


def test_users_with_a_bad_row_are_refused_by_its_id() -> None:
    table = pa.Table.from_pylist([user("a"), user("b", gender="robot")], schema=USERS.schema)
    with pytest.raises(
        RowInvalidError, match="users: user_id 'b': gender must be one of male, female, unknown"
    ):
        require_valid(USERS, table, "user_id")


def test_users_with_an_id_twice_are_refused() -> None:
    table = pa.Table.from_pylist([user("a"), user("b"), user("a")], schema=USERS.schema)
    with pytest.raises(RowInvalidError, match="users: user_id 'a' appears more than once"):
        require_valid(USERS, table, "user_id")


def test_good_users_pass_in_the_order_given() -> None:
    table = pa.Table.from_pylist([user("b", age=None), user("a", age=40)], schema=USERS.schema)
    assert require_valid(USERS, table, "user_id").equals(table)
    assert require_valid(VIDEOS, VIDEOS.schema.empty_table(), "video_id").num_rows == 0
