"""The project's own rules, checked on what dbt parsed."""

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


def test_every_table_says_engine_and_order_and_only_the_sessions_are_partitioned(
    models: dict[str, Any],
) -> None:
    tables = {name: node.config for name, node in models.items() if node.config.materialized != "view"}
    assert sorted(tables) == ["stg_users", "stg_videos", "user_features", "video_features", "watch_sessions"]
    assert {name: config.get("order_by") for name, config in tables.items()} == {
        "stg_users": ["user_id"],
        "stg_videos": ["video_id"],
        "user_features": ["user_id"],
        "video_features": ["video_id"],
        "watch_sessions": ["user_id", "started_at", "session_id", "video_id"],
    }
    assert {config.get("engine") for config in tables.values()} == {"MergeTree()"}
    assert [name for name, config in tables.items() if config.get("partition_by")] == ["watch_sessions"]


def test_the_five_minute_job_builds_the_sessions_and_all_they_are_made_of(models: dict[str, Any]) -> None:
    tagged = {name for name, node in models.items() if "sessions" in node.tags}
    assert tagged == {"stg_playback_events", "stg_videos", "int_session_events", "watch_sessions"}


def test_views_do_not_join(models: dict[str, Any]) -> None:
    # A view is read with the reader's join_use_nulls, so a join in it would give one reader NULL, another a default.
    views = {name: node.raw_code for name, node in models.items() if node.config.materialized == "view"}
    assert sorted(views) == ["int_session_events", "interactions", "stg_playback_events"]
    assert [name for name, code in views.items() if " join " in code.lower()] == []


def test_the_sessions_selector_leaves_features_and_unit_tests_alone(warehouse: Warehouse) -> None:
    names = warehouse.dbt("build", "--selector", "sessions")
    assert {name for name in names if name.endswith(("sessions", "features", "events", "videos"))} == {
        "stg_playback_events",
        "stg_videos",
        "int_session_events",
        "watch_sessions",
    }
    assert {"watch_sessions_grain_is_unique", "every_event_is_in_one_session"} <= set(names)
    assert {"features_reconcile_with_sessions", "watch_sessions_figures_and_flags"} & set(names) == set()
