"""The code location as Dagster loads it: in a fresh process, with nothing running."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from stack.settings import PROJECT_ROOT, Settings, child_environment

PROBE = """
import json
from orchestration.definitions import definitions
repository = definitions().get_repository_def()
graph = repository.asset_graph
nodes = [graph.get(key) for key in graph.get_all_asset_keys() if graph.get(key).is_materializable]
print(json.dumps({
    "assets": {n.key.to_user_string(): {
        "group": n.group_name, "kinds": sorted(n.kinds), "owners": list(n.owners), "description": n.description,
        "parents": sorted(p.to_user_string() for p in n.parent_keys), "code_version": n.code_version,
    } for n in nodes},
    "checks": sorted(f"{k.asset_key.to_user_string()}.{k.name}" for k in graph.asset_check_keys),
    "blocking": sorted(k.name for k in graph.asset_check_keys if graph.get(k).blocking),
    "jobs": {j.name: sorted(k.to_user_string() for k in j.asset_layer.executable_asset_keys)
             for j in repository.get_all_jobs()},
    "running": sorted(s.name for s in [*repository.sensor_defs, *repository.schedule_defs]
                      if s.default_status.value == "RUNNING"),
}))
"""


@pytest.fixture(scope="module")
def location(settings: Settings) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=child_environment(settings),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_stages_are_the_groups(location: dict) -> None:
    groups: dict[str, set[str]] = {}
    for name, asset in location["assets"].items():
        groups.setdefault(asset["group"], set()).add(name)
    assert groups == {
        "ingestion": {"users", "videos", "playback_events"},
        "features": {
            *("stg_users", "stg_videos", "stg_playback_events", "int_session_events"),
            *("watch_sessions", "user_features", "video_features", "interactions"),
        },
        "training": {
            *("training_set", "svd_model", "two_tower_model", "popularity_model"),
            *("model_evaluation", "registered_models"),
        },
        "serving": {"serving_bundle"},
        "monitoring": {"drift_report"},
    }


@pytest.mark.parametrize("attribute", ["description", "owners", "kinds", "code_version"])
def test_every_asset_says_what_it_is_and_whose(location: dict, attribute: str) -> None:
    assert [name for name, asset in location["assets"].items() if not asset[attribute]] == []


def test_the_graph_runs_from_events_to_the_feed(location: dict) -> None:
    parents = {name: asset["parents"] for name, asset in location["assets"].items()}
    assert parents["stg_playback_events"] == ["playback_events"]
    assert parents["training_set"] == ["interactions", "stg_videos"]
    assert parents["two_tower_model"] == ["training_set"]
    assert "model_evaluation" in parents["registered_models"]
    assert parents["serving_bundle"] == ["registered_models", "stg_videos", "watch_sessions"]


def test_dbt_tests_and_validations_are_checks_and_one_of_them_blocks_training(location: dict) -> None:
    assert {"training_set.training_set_is_valid", "playback_events.ledger_balances"} <= set(
        location["checks"]
    )
    assert len(location["checks"]) >= 25
    assert "training_set_is_valid" in location["blocking"]


def test_there_is_a_job_for_all_and_one_a_stage(location: dict) -> None:
    jobs, assets = location["jobs"], location["assets"]
    assert jobs["everything_job"] == sorted(assets)
    assert jobs["sessions_job"] == [
        "int_session_events",
        "stg_playback_events",
        "stg_videos",
        "watch_sessions",
    ]
    assert jobs["serving_job"] == ["serving_bundle"]
    for stage in ("ingestion", "features", "monitoring"):
        assert jobs[f"{stage}_job"] == sorted(n for n, a in assets.items() if a["group"] == stage)


def test_schedules_and_sensors_run_from_the_first_start(location: dict) -> None:
    assert location["running"] == [
        "drift_hourly",
        "drift_sensor",
        "features_hourly",
        "promotion_sensor",
        "sessions_every_5_minutes",
        "training_daily",
    ]


def test_a_bad_setting_is_named_when_the_location_loads(new_settings: Callable[..., Settings]) -> None:
    environment = child_environment(new_settings()) | {"REELGRAPH_SEED": "many"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "REELGRAPH_SEED" in done.stderr


@pytest.mark.parametrize(
    ("setting", "executor"), [("in_process", "in_process"), ("multiprocess", "multiprocess")]
)
def test_the_executor_is_a_setting(settings: Settings, setting: str, executor: str) -> None:
    probe = (
        "from orchestration.definitions import definitions\n"
        "print(definitions().get_job_def('everything_job').executor_def.name)"
    )
    environment = child_environment(settings.model_copy(update={"executor": setting}))
    done = subprocess.run(
        [sys.executable, "-c", probe], env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True
    )
    assert done.stdout.split()[-1:] == [executor], done.stderr
