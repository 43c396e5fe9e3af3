"""The project's own rules, checked on what dbt parsed."""

import re
from typing import Any

import pytest

from .warehouse import Warehouse


@pytest.fixture
def models(shared_warehouse: Warehouse) -> dict[str, Any]:
    assert shared_warehouse.manifest is not None
    return {
        node.name: node for node in shared_warehouse.manifest.nodes.values() if node.resource_type == "model"
    }


def test_every_model_states_its_grain_and_has_an_enforced_contract(models: dict[str, Any]) -> None:
    assert [name for name, node in models.items() if "Grain" not in node.description] == []
    assert [name for name, node in models.items() if not node.config.contract.enforced] == []


def test_every_table_says_engine_and_order_and_only_what_grows_is_partitioned(models: dict[str, Any]) -> None:
    tables = {name: node.config for name, node in models.items() if node.config.materialized != "view"}
    assert {config.get("engine") for config in tables.values()} == {"MergeTree()"}
    assert {
        name: config.get("order_by") for name, config in tables.items() if "training" not in config.tags
    } == {
        "stg_users": ["user_id"],
        "stg_videos": ["video_id"],
        "int_session_states": ["toDate32(hour)", "user_id", "session_key", "hour"],
        "int_daily_user_activity": ["user_id", "activity_date"],
        "int_daily_video_activity": ["video_id", "activity_date"],
        "user_engagement": ["user_id"],
        "user_features": ["user_id"],
        "trending_videos": ["video_id"],
        "video_features": ["video_id"],
    }
    assert [name for name, config in tables.items() if not config.get("order_by")] == []
    assert {
        name: config.get("partition_by") for name, config in tables.items() if config.get("partition_by")
    } == {
        "int_session_states": "toYYYYMM(hour)",
        "int_daily_user_activity": "toYYYYMM(activity_date)",
        "int_daily_video_activity": "toYYYYMM(activity_date)",
    }


def test_views_do_not_join(models: dict[str, Any]) -> None:
    # A view is read with the reader's join_use_nulls, so a join in it would give one reader NULL, another a default.
    views = {name: node.raw_code for name, node in models.items() if node.config.materialized == "view"}
    assert {
        "int_session_changes",
        "int_session_events",
        "interactions",
        "stg_playback_events",
        "watch_sessions",
    } <= {*views}
    assert [
        name for name, code in views.items() if re.search(r"(?m)^(?!\s*--).*(?<!array )\bjoin\b", code)
    ] == []


SESSION_MODELS = {
    "stg_playback_events",
    "stg_videos",
    "int_session_events",
    "int_session_states",
    "watch_sessions",
}


def test_the_five_minute_job_builds_the_sessions_and_all_they_are_made_of(
    warehouse: Warehouse, models: dict[str, Any]
) -> None:
    names = set(warehouse.dbt("build", "--selector", "sessions"))
    assert names & set(models) == SESSION_MODELS
    # With tests of these alone, and without unit tests.
    assert {"int_session_states_grain_is_unique", "watch_sessions_grain_is_unique"} <= names
    assert warehouse.manifest is not None
    tests = [node for node in warehouse.manifest.nodes.values() if node.name in names - set(models)]
    read = {name.split(".")[-1] for node in tests for name in node.depends_on.nodes}
    assert read <= {*SESSION_MODELS, "stg_users", "playback_events"}
    assert names.isdisjoint(test.name for test in warehouse.manifest.unit_tests.values())


def test_each_model_is_built_by_one_op(warehouse: Warehouse, models: dict[str, Any]) -> None:
    sessions, features = (
        [name for name in warehouse.list_nodes("--selector", selector) if name in models]
        for selector in ("session_models", "feature_models")
    )
    training = [name for name, node in models.items() if "training" in node.tags]
    assert sorted(sessions) == sorted({*SESSION_MODELS, "stg_users"})
    assert sorted(sessions + features + training) == sorted(models)
