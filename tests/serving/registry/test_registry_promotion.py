"""Who is champion and since when, against a real MLflow server: by the gate, by hand in the UI, and back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from serving.registry import promotion, registry
from serving.registry.lineage import Lineage, environment
from serving.registry.training import log_training
from stack.settings import Settings

from ..conftest import tiny_model

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def settings(mlflow_uri: str, tmp_path: Path) -> Settings:
    """The registry as on the first day: nothing in it."""
    client = MlflowClient(mlflow_uri)
    if any(model.name == registry.MODEL_NAME for model in client.search_registered_models()):
        client.delete_registered_model(registry.MODEL_NAME)
    return Settings(_env_file=None, home=tmp_path / "home", MLFLOW_TRACKING_URI=mlflow_uri)


@pytest.fixture
def client(settings: Settings) -> MlflowClient:
    return MlflowClient(settings.mlflow_tracking_uri)


@pytest.fixture
def make(settings: Settings, tmp_path: Path) -> Callable[..., int]:
    def make(kind: str = "svd", **more) -> int:
        tiny_model(kind).save(tmp_path / kind)
        version = registry.register(
            settings,
            kind=kind,
            model_dir=tmp_path / kind,
            experiment="recommender",
            run_name=kind,
            params={},
            metrics={},
            **more,
        )
        return version.version

    return make


def tags(client: MlflowClient, version: int) -> dict[str, str]:
    return dict(client.get_model_version(registry.MODEL_NAME, str(version)).tags)


def by_hand(client: MlflowClient, version: int) -> None:
    """What the MLflow UI does."""
    client.set_registered_model_alias(registry.MODEL_NAME, "champion", str(version))


def test_a_promotion_is_one_alias_and_is_written_on_both_versions(settings, client, make) -> None:
    one, two = make(), make()
    first = promotion.promote(settings, one, reason="the first", expected=None, now=NOW)
    assert (first.version, first.previous, first.by, first.kind) == (one, None, "gate", "svd")
    promotion.promote(settings, two, reason="better", expected=one, tags={"gate_tests": "2"}, now=NOW)
    champion = promotion.champion(settings)
    assert champion is not None
    assert champion.version == two
    assert {
        k: champion.tags[k] for k in ("promoted_by", "promoted_at", "promotion_reason", "gate_tests")
    } == {
        "promoted_by": "gate",
        "promoted_at": "2026-11-20T12:00:00+00:00",
        "promotion_reason": "better",
        "gate_tests": "2",
    }
    assert champion.tags["replaced_version"] == str(one)
    assert tags(client, one)["retired_at"] == "2026-11-20T12:00:00+00:00"
    again = promotion.promote(settings, two, reason="better", expected=two, now=NOW)
    assert again.version == two
    assert tags(client, two)["replaced_version"] == str(one)
    assert promotion.record_manual_promotion(settings) is None


def test_a_champion_moved_since_the_decision_is_not_replaced(settings, client, make) -> None:
    one, two, three = make(), make(), make()
    promotion.promote(settings, one, reason="", expected=None)
    by_hand(client, three)
    with pytest.raises(promotion.ChampionMovedError, match=f"version {three} now, it was {one}"):
        promotion.promote(settings, two, reason="", expected=one)
    assert "promoted_at" not in tags(client, two)
    with pytest.raises(registry.VersionNotFoundError, match="no version 999"):
        promotion.promote(settings, 999, reason="", expected=three)


def test_a_promotion_by_hand_is_recorded_once_and_holds_other_recipes_back(settings, client, make) -> None:
    one, two = make(), make("two-tower")
    promotion.promote(settings, one, reason="", expected=None, now=NOW)
    by_hand(client, two)
    found = promotion.record_manual_promotion(settings, now=NOW)
    assert found is not None
    assert (found.version, found.previous, found.by, found.kind) == (two, one, "hand", "two-tower")
    assert promotion.record_manual_promotion(settings, now=NOW) is None
    champion = promotion.champion(settings)
    assert champion is not None
    assert champion.tags["promoted_by"] == "hand"
    assert "who and when exactly is not known" in champion.tags["promotion_reason"]
    assert promotion.held(champion, NOW + timedelta(days=6.9)) == "recipe"
    assert promotion.held(champion, NOW + timedelta(days=7)) is None
    client.delete_model_version_tag(registry.MODEL_NAME, str(two), "hold_until")
    assert promotion.held(promotion.champion(settings), NOW) is None


def test_a_step_back_by_hand_holds_everything_back(settings, client, make) -> None:
    one, two = make(), make()
    promotion.promote(settings, one, reason="", expected=None, now=NOW)
    promotion.promote(settings, two, reason="", expected=one, now=NOW)
    by_hand(client, one)
    found = promotion.record_manual_promotion(settings, now=NOW)
    assert found is not None
    assert (found.version, found.previous) == (one, two)
    assert promotion.held(promotion.champion(settings), NOW) == "all"


def test_the_first_champion_may_be_made_by_hand(settings, client, make) -> None:
    assert promotion.record_manual_promotion(settings) is None  # no registered model at all
    assert promotion.champion(settings) is None
    one = make(lineage=Lineage(recipe="{}"))
    assert promotion.record_manual_promotion(settings) is None  # and none promoted
    by_hand(client, one)
    found = promotion.record_manual_promotion(settings)
    assert found is not None
    assert (found.version, found.previous, found.by) == (one, None, "hand")


def test_a_gate_that_was_killed_half_way_is_not_taken_for_a_person(
    settings, client, make, monkeypatch
) -> None:
    one, two = make(), make()
    promotion.promote(settings, one, reason="", expected=None)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_settle", killed)
        with pytest.raises(KeyboardInterrupt):
            promotion.promote(settings, two, reason="better", expected=one)
    assert promotion.champion(settings).version == two
    assert promotion.record_manual_promotion(settings) is None
    assert tags(client, two)["promoted_by"] == "gate"
    by_hand(client, one)
    assert promotion.record_manual_promotion(settings) is not None


def test_a_gate_that_was_killed_after_the_move_has_its_words_written_by_the_next(
    settings, client, make, monkeypatch
) -> None:
    one, two = make(), make()
    promotion.promote(settings, one, reason="", expected=None, now=NOW)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            promotion.promote(settings, two, reason="better", expected=one, tags={"gate_tests": "2"}, now=NOW)
    assert promotion.champion(settings).version == two
    assert promotion.record_manual_promotion(settings, now=NOW + timedelta(days=1)) is None
    written = {
        "promoted_by": "gate",
        "promoted_at": "2026-11-20T12:00:00+00:00",
        "promotion_reason": "better",
        "gate_tests": "2",
        "replaced_version": str(one),
    }
    assert tags(client, two).items() >= written.items()
    assert tags(client, one)["retired_at"] == "2026-11-20T12:00:00+00:00"


def test_a_gate_that_was_killed_before_the_move_leaves_nothing_on_the_version(
    settings, client, make, monkeypatch
) -> None:
    one, two = make(), make()
    promotion.promote(settings, one, reason="", expected=None, now=NOW)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            promotion.promote(settings, two, reason="better", expected=one, now=NOW)
    assert promotion.champion(settings).version == one
    assert not tags(client, two).keys() & {"promoted_by", "promoted_at", "replaced_version"}
    assert "retired_at" not in tags(client, one)
    # The next decision forgets it, so that a person who moves the alias there is seen.
    assert promotion.record_manual_promotion(settings) is None
    promotion.clear_stale_pending(settings)
    by_hand(client, two)
    assert promotion.record_manual_promotion(settings).by == "hand"


def test_a_pending_move_of_the_earlier_form_is_settled(settings, client, make) -> None:
    one, two = make(), make()
    promotion.promote(settings, one, reason="", expected=None, now=NOW)
    client.set_registered_model_tag(registry.MODEL_NAME, "champion_pending", str(two))
    by_hand(client, two)
    assert promotion.record_manual_promotion(settings) is None
    assert promotion.record_manual_promotion(settings) is None
    promotion.clear_stale_pending(settings)
    by_hand(client, one)
    assert promotion.record_manual_promotion(settings).version == one


def test_the_champion_of_a_home_of_before_is_nobodys_hand(settings, client, make) -> None:
    one, two = make(), make()
    by_hand(client, one)  # as the code of then did, which wrote down nothing
    assert promotion.record_manual_promotion(settings) is None
    assert not tags(client, one).keys() & {"promoted_by", "promoted_at", "hold_until"}
    assert promotion.held(promotion.champion(settings)) is None
    by_hand(client, two)
    assert promotion.record_manual_promotion(settings).previous == one


def test_a_rollback_is_one_alias_move_and_again_goes_further_back(settings, client, make) -> None:
    one, two, three = make(), make(), make()
    for version, before in ((one, None), (two, one), (three, two)):
        promotion.promote(settings, version, reason="", expected=before, now=NOW)
    back = promotion.rollback(settings, reason="wrong videos", now=NOW)
    assert (back.version, back.previous, back.by, back.reason) == (two, three, "rollback", "wrong videos")
    assert promotion.champion(settings).version == two
    assert promotion.held(promotion.champion(settings), NOW) == "all"
    assert promotion.record_manual_promotion(settings) is None
    assert promotion.rollback(settings, hold_days=0).version == one
    assert promotion.held(promotion.champion(settings), NOW) is None
    with pytest.raises(promotion.NoPreviousChampionError, match=f"version {one} replaced nobody"):
        promotion.rollback(settings)


def test_rolling_back_a_promotion_by_hand_that_nobody_saw_yet(settings, client, make) -> None:
    one, two = make(), make()
    promotion.promote(settings, one, reason="", expected=None)
    by_hand(client, two)
    assert promotion.rollback(settings).version == one


def test_there_is_nothing_to_roll_back_to_before_the_first_champion_or_if_it_is_gone(
    settings, client, make
) -> None:
    with pytest.raises(promotion.NoPreviousChampionError, match="there is no champion"):
        promotion.rollback(settings)
    one, two, three = make(), make(), make()
    promotion.promote(settings, one, reason="", expected=None)
    promotion.promote(settings, two, reason="", expected=one)
    client.delete_model_version(registry.MODEL_NAME, str(one))
    with pytest.raises(registry.VersionNotFoundError, match=f"no version {one}"):
        promotion.rollback(settings)
    by_hand(client, three)
    assert promotion.record_manual_promotion(settings).previous == two


def test_a_hold_that_is_no_time_is_named(settings, client, make) -> None:
    one = make()
    by_hand(client, one)
    client.set_model_version_tag(registry.MODEL_NAME, str(one), "hold_until", "tomorrow")
    with pytest.raises(registry.RegistryError, match="hold_until"):
        promotion.held(promotion.champion(settings))


def test_a_note_is_on_the_version_and_in_its_run(settings, client, make) -> None:
    one = make()
    promotion.note(
        settings,
        one,
        tags={"gate": "promoted"},
        description="x" * 6000,
        artifacts={"gate/decision.md": "**Promoted**"},
    )
    found = client.get_model_version(registry.MODEL_NAME, str(one))
    assert (found.tags["gate"], len(found.description)) == ("promoted", 5000)
    assert [f.path for f in client.list_artifacts(found.run_id, "gate")] == ["gate/decision.md"]


def test_a_version_says_all_of_where_it_comes_from(settings, client, make) -> None:
    lineage = Lineage(
        training_set_sha256="a" * 64,
        training_columns="b" * 64,
        training_column_names='["interactions.parquet: user_id"]',
        trained_up_to_ms=1_650_000_000_000,
        recipe="{" + "x" * 8000 + "}",
        git_commit="c" * 40,
        code_sha256="d" * 64,
        dbt_invocation_id="e" * 36,
    )
    one = make(lineage=lineage, dagster_run_id="run", training_set={"version": "f.dir", "rows": 3})
    found = tags(client, one)
    assert found.items() >= {k: str(v) for k, v in vars(lineage).items()}.items()
    assert found["recipe"] == lineage.recipe  # whole, although a run's tags are shorter
    assert (found["dagster_run_id"], found["training_set"]) == ("run", "f.dir")
    assert found["python"] == environment()["python"]
    assert f"numpy=={environment()['numpy']}" in found["packages"]
    assert len(found["environment_sha256"]) == 64
    assert "dbt_invocation_id" not in Lineage().tags()


def test_a_training_has_one_run_above_those_of_its_models(settings, client, make, tmp_path) -> None:
    report = tmp_path / "judgement"
    report.mkdir()
    (report / "judgement.json").write_text("{}")

    def log(dagster_run_id: str) -> str:
        return log_training(
            settings,
            experiment="recommender",
            run_name="training",
            dagster_run_id=dagster_run_id,
            metrics={"users": 3},
            artifacts={"judgement": report},
        )

    parent = log("run-a")
    assert log("run-a") == parent
    assert log("run-b") != parent
    version = client.get_model_version(registry.MODEL_NAME, str(make(parent_run_id=parent)))
    assert client.get_run(version.run_id).data.tags["mlflow.parentRunId"] == parent
    assert {f.path for f in client.list_artifacts(parent)} == {"environment.json", "judgement"}
    with pytest.raises(FileNotFoundError):
        log_training(
            settings,
            experiment="recommender",
            run_name="training",
            dagster_run_id="run-c",
            artifacts={"judgement": tmp_path / "nowhere"},
        )
    (failed,) = [
        run
        for run in client.search_runs(
            [client.get_experiment_by_name("recommender").experiment_id], "attributes.status = 'FAILED'"
        )
        if run.data.tags.get("dagster_run_id") == "run-c"
    ]
    assert failed.data.tags["stage"] == "training"
