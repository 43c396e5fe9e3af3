"""The code location as Dagster loads it: in a fresh process, with nothing running."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from orchestration.users_cli import WRITERS
from stack.settings import PROJECT_ROOT, Settings, child_environment

PROBE = """
import json
import dagster as dg
from orchestration.dbt import dbt_manifest
from orchestration.definitions import definitions
from stack.settings import load_settings
nodes = dbt_manifest(load_settings())["nodes"]
nodes_of_dbt = list(nodes.values())
repository = definitions().get_repository_def()
graph = repository.asset_graph
assets = [graph.get(key) for key in graph.get_all_asset_keys() if graph.get(key).is_materializable]
print(json.dumps({
    "assets": {n.key.to_user_string(): {
        "group": n.group_name, "kinds": sorted(n.kinds), "owners": list(n.owners), "description": n.description,
        "parents": sorted(p.to_user_string() for p in n.parent_keys), "code_version": n.code_version,
    } for n in assets},
    "checks": sorted(f"{k.asset_key.to_user_string()}.{k.name}" for k in graph.asset_check_keys),
    "words": {k.name: graph.get(k).description for k in graph.asset_check_keys},
    "blocking": sorted(k.name for k in graph.asset_check_keys if graph.get(k).blocking),
    "jobs": {j.name: sorted(k.to_user_string() for k in j.asset_layer.executable_asset_keys)
             for j in repository.get_all_jobs()},
    "checks_of_jobs": {j.name: sorted(f"{k.asset_key.to_user_string()}.{k.name}"
                                      for k in j.asset_layer.asset_graph.asset_check_keys)
                       for j in repository.get_all_jobs()},
    "dbt_ops": {d.op.name: sorted(k.to_user_string() for k in d.keys) for d in definitions().assets
                if isinstance(d, dg.AssetsDefinition) and "dagster_dbt/manifest" in str(d.metadata_by_key)},
    "dbt_models": [n["name"] for n in nodes_of_dbt if n["resource_type"] == "model"],
    "dbt_tests": [n["name"] for n in nodes_of_dbt if n["resource_type"] == "test"],
    "whole_table": [n["name"] for n in nodes_of_dbt if n["resource_type"] == "test" and "whole_table" in n["tags"]],
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


def test_an_erasure_waits_for_every_job_that_could_write_the_user_again(location: dict) -> None:
    harmless = {
        "serving_job",  # packs registered models: the opt-out list masks the user in every bundle
        "monitoring_job",  # counts
        "tuning_job",  # trains, on a set that is there, and keeps parameters
        "erase_user_job",
    }
    assert set(location["jobs"]) - harmless == set(WRITERS)


def test_the_stages_are_the_groups(location: dict) -> None:
    groups: dict[str, set[str]] = {}
    for name, asset in location["assets"].items():
        groups.setdefault(asset["group"], set()).add(name)
    assert groups == {
        "ingestion": {"users", "videos", "playback_events"},
        "features": {
            *("stg_users", "stg_videos", "stg_playback_events", "int_session_events", "int_session_states"),
            *("int_session_changes", "int_daily_user_activity", "int_daily_video_activity"),
            *("watch_sessions", "user_features", "video_features", "interactions"),
            *("user_engagement", "trending_videos", "rebuilt_days"),
            *("user_scores", "video_counters", "online_features"),
        },
        "training": {
            *("training_interactions", "user_features_hourly", "video_features_hourly"),
            *("training_set", "svd_model", "als_model", "item_item_model", "content_model"),
            *("popularity_model", "two_tower_model", "hybrid_model", "tuned_parameters"),
            *("model_evaluation", "registered_models", "promotion_decision"),
        },
        "serving": {"serving_bundle"},
        "monitoring": {"drift_report", "experiment_report"},
    }


@pytest.mark.parametrize("attribute", ["description", "owners", "kinds", "code_version"])
def test_every_asset_says_what_it_is_and_whose(location: dict, attribute: str) -> None:
    assert [name for name, asset in location["assets"].items() if not asset[attribute]] == []


def test_the_graph_runs_from_events_to_the_feed(location: dict) -> None:
    parents = {name: asset["parents"] for name, asset in location["assets"].items()}
    assert parents["stg_playback_events"] == ["playback_events"]
    assert parents["training_set"] == [
        *("stg_users", "stg_videos", "training_interactions"),
        *("user_features", "user_features_hourly", "video_features", "video_features_hourly"),
        "watch_sessions",
    ]
    assert parents["two_tower_model"] == ["training_set"]
    parts = ["als_model", "content_model", "item_item_model", "training_set", "two_tower_model"]
    assert parents["hybrid_model"] == parts
    assert "model_evaluation" in parents["registered_models"]
    gate = ["model_evaluation", "registered_models", "training_set"]
    assert parents["promotion_decision"] == gate
    assert parents["serving_bundle"] == ["promotion_decision", "stg_videos", "watch_sessions"]


def test_dbt_tests_and_validations_are_checks_and_one_of_them_blocks_training(location: dict) -> None:
    assert {"training_set.training_set_is_valid", "playback_events.ledger_balances"} <= set(
        location["checks"]
    )
    assert len(location["checks"]) >= 25
    assert {
        *("training_set_is_valid", "training_rows_never_see_the_future", "watch_sessions_are_valid"),
        *("playback_events_are_valid", "user_features_are_valid", "video_features_are_valid"),
    } <= set(location["blocking"])
    # Judged again before a training, whoever built them; and a check blocks only what reads its table.
    for table in ("watch_sessions", "user_features", "video_features"):
        assert f"{table}.{table}_are_valid" in location["checks_of_jobs"]["training_job"]
        assert table in location["assets"]["training_set"]["parents"]


def test_there_is_a_job_for_all_and_one_a_stage(location: dict) -> None:
    jobs, assets = location["jobs"], location["assets"]
    apart = {"rebuilt_days", "tuned_parameters"}  # run day by day; run on demand
    assert jobs["everything_job"] == sorted(assets.keys() - apart)
    assert jobs["sessions_job"] == ["int_session_states", "stg_videos", "watch_sessions"]
    assert jobs["online_features_job"] == ["online_features"]
    assert jobs["serving_job"] == ["serving_bundle"]
    for stage in ("ingestion", "features", "monitoring"):
        group = {name for name, asset in assets.items() if asset["group"] == stage}
        assert jobs[f"{stage}_job"] == sorted(group - {"rebuilt_days"})
    assert jobs["data_tests_job"] == jobs["features_job"]


def test_every_data_test_is_a_check_and_runs_as_often_as_its_table_allows(location: dict) -> None:
    checks = location["checks_of_jobs"]
    of_features = {
        c for c in location["checks"] if location["assets"][c.split(".")[0]]["group"] == "features"
    }
    assert set(location["dbt_tests"]) <= {c.split(".")[1] for c in location["checks"]}
    assert checks["sessions_job"] == checks["online_features_job"] == []
    of_events = {
        "playback_events.playback_events_are_valid",
        "playback_events.playback_events_has_no_anomaly",
    }
    assert set(checks["data_tests_job"]) == of_features | of_events
    by_day = {f"{table}.{table}_has_no_anomaly" for table in ("playback_events", "watch_sessions")}
    assert by_day & set(checks["features_job"]) == set()
    assert of_events - by_day <= set(checks["features_job"])
    assert set(checks["everything_job"]) == set(location["checks"])
    hourly = set(checks["features_job"])
    assert {
        "user_features.unique_user_features_user_id",
        "watch_sessions.no_session_is_in_the_future",
    } <= hourly
    whole_table = of_features - hourly - by_day
    assert "watch_sessions.watch_sessions_grain_is_unique" in whole_table
    assert {c.split(".")[1] for c in whole_table} == set(location["whole_table"])


def test_a_check_has_the_words_of_its_test(location: dict) -> None:
    words = location["words"]
    assert words["no_session_is_in_the_future"] == (
        "A device's wrong clock. Such a session is kept, but no feature sees it, so this warns and blocks nothing."
    )
    assert words["int_daily_user_activity_only_ends_are_taken_back"].startswith(
        "What a session has gained stays"
    )
    assert words["unique_user_features_user_id"] is None


def test_sessions_and_features_are_an_op_each_and_every_model_in_one(location: dict) -> None:
    ops = location["dbt_ops"]
    assert ops["session_models"] == [
        *("int_session_events", "int_session_states", "stg_playback_events"),
        *("stg_users", "stg_videos", "watch_sessions"),
    ]
    built = ops["session_models"] + ops["feature_models"] + ops["training_models"]
    assert sorted(built) == sorted(location["dbt_models"])


def test_schedules_and_sensors_run_from_the_first_start(location: dict) -> None:
    assert location["running"] == [
        "data_tests_daily",
        "drift_hourly",
        "drift_sensor",
        "features_hourly",
        "online_features_half_hourly",
        "promotion_sensor",
        "sessions_every_5_minutes",
        "training_daily",
        "training_events_sensor",
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
