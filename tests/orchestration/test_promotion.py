"""From trained models to a champion, on a real MLflow server: the gate's word, a person's, and what is written down."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from mlflow import MlflowClient

from ml.dataset import Interactions
from ml.errors import ConfigurationError, ModelFilesError, UnknownKindError
from ml.gate_challenger import validation_scores
from ml.pipeline import judge, train
from orchestration.defs.promotion import promotion_decision
from orchestration.io_managers import RecordIOManager
from orchestration.promotion import PromotionDecision, Run, decide_and_promote, observation
from orchestration.records import Judgement, RegisteredModels, TrainedModel, TrainingSet
from orchestration.registration import register_all
from orchestration.resources import Stores
from serving.registry import promotion, registry
from stack.settings import Settings
from tests.ml.planted import HOUR_MS, catalogue, taste_videos, tastes, write_folder
from tests.serving.conftest import mlflow_uri  # noqa: F401 - a fixture

CONFIG = {"item_item": {"regularisation": 5.0}, "als": {"n_factors": 4, "n_epochs": 3}}
KINDS = ("popularity", "als", "item-item")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def first_days() -> Interactions:
    return tastes(users=200)


def with_a_later_day() -> Interactions:
    early, late = tastes(users=200), tastes(users=200, seed=1)
    shift = 50 * HOUR_MS
    late = replace(late, started_at_ms=late.started_at_ms + shift, ended_at_ms=late.ended_at_ms + shift)
    return Interactions(
        **{name: np.concatenate([value, getattr(late, name)]) for name, value in vars(early).items()}
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a run leaves in its home before anything is registered, on the data of both days."""
    homes = {}
    for name, rows in (("first", first_days()), ("later", with_a_later_day())):
        home = homes[name] = tmp_path_factory.mktemp(name)
        data = write_folder(home / "training_set", rows, catalogue(taste_videos()))
        folders = {kind: home / "models" / kind for kind in KINDS}
        for kind in KINDS:
            train(kind, data, folders[kind], config=CONFIG)
        judge(folders, data, home / "models" / "judgement")
    return homes


class Platform:
    """A home with its registry; `train` does what a Dagster run does up to the gate."""

    def __init__(self, settings: Settings, trained: dict[str, Path]) -> None:
        self.settings, self.trained = settings, trained
        self.client = MlflowClient(settings.mlflow_tracking_uri)
        self.folders = {kind: settings.home / "models" / kind for kind in KINDS}

    def train(self, dagster_run_id: str, data: str = "first") -> Run:
        shutil.copytree(self.trained[data], self.settings.home, dirs_exist_ok=True)
        reports = {
            kind: json.loads((path / "report.json").read_text()) for kind, path in self.folders.items()
        }
        training_set = TrainingSet(
            path=self.settings.training_set_dir, dvc_hash=f"{data}.dir", meta={"rows": 3}
        )
        judgement = Judgement(
            path=self.settings.home / "models" / "judgement",
            best_kind="item-item",
            metrics={kind: {"ndcg_at_10": 0.5} for kind in KINDS},
            training_set_hash=training_set.dvc_hash,
        )
        models = [
            TrainedModel(
                kind=kind,
                path=self.folders[kind],
                params=report["params"],
                curves={},
                seconds=1.0,
                training_set_hash=training_set.dvc_hash,
                dagster_run_id=dagster_run_id,
            )
            for kind, report in reports.items()
        ]
        versions = register_all(self.settings, training_set, models, judgement, dbt_invocation_id="dbt-1")
        numbers = {kind: version.version for kind, version in versions.items()}
        return Run(dagster_run_id, NOW, numbers, self.folders, judgement, training_set)

    def decide(self, run: Run, now: datetime = NOW, kind: str = "item-item") -> PromotionDecision:
        return decide_and_promote(self.settings, run, now=now, challenger=kind)

    def champion(self) -> registry.RegisteredVersion:
        found = promotion.champion(self.settings)
        assert found is not None
        return found

    def by_hand(self, version: int) -> None:
        """What the MLflow UI does."""
        self.client.set_registered_model_alias(registry.MODEL_NAME, "champion", str(version))

    def description(self, version: int) -> str:
        return self.client.get_model_version(registry.MODEL_NAME, str(version)).description


@pytest.fixture
def platform(mlflow_uri: str, trained: dict[str, Path], tmp_path: Path) -> Platform:  # noqa: F811
    client = MlflowClient(mlflow_uri)
    if any(model.name == registry.MODEL_NAME for model in client.search_registered_models()):
        client.delete_registered_model(registry.MODEL_NAME)
    return Platform(
        Settings(
            _env_file=None,
            home=tmp_path / "home",
            MLFLOW_TRACKING_URI=mlflow_uri,
            gate_max_latency_ms=5000,
        ),
        trained,
    )


def test_the_first_champion_is_written_down_with_all_its_evidence(platform: Platform) -> None:
    run = platform.train("run-1")
    made = platform.decide(run)
    assert (made.promoted, made.reason) == (True, "item-item is the first champion")
    assert (made.champion_kind, made.champion_version) == ("item-item", run.versions["item-item"])
    assert made.champion_before is None

    champion = platform.champion()
    tags = champion.tags
    assert champion.version == made.champion_version
    assert (tags["promoted_by"], tags["gate"], tags["gate_run"]) == ("gate", "promoted", "run-1")
    assert json.loads(tags["recipe"])["params"]["regularisation"] == 5.0
    assert (tags["dbt_invocation_id"], tags["dagster_run_id"]) == ("dbt-1", "run-1")
    assert tags["training_set"] == run.training_set.dvc_hash
    assert len(tags["training_set_sha256"]) == len(tags["training_columns"]) == 64
    assert "precision@10" in platform.description(champion.version)
    run_of_it = champion.run_id
    kept = {file.path for file in platform.client.list_artifacts(run_of_it, "gate")}
    assert kept == {"gate/decision.json", "gate/decision.md"}
    parent = platform.client.get_run(run_of_it).data.tags["mlflow.parentRunId"]
    shown = {file.path for file in platform.client.list_artifacts(parent, "judgement")}
    assert {"judgement/judgement.json", "judgement/report.html"} <= shown


def test_a_run_that_is_retried_gets_the_decision_it_took(platform: Platform) -> None:
    run = platform.train("run-1")
    made = platform.decide(run)
    assert platform.decide(run) == made
    # The models of the same run are not registered twice either.
    again = platform.train("run-1")
    assert again.versions == run.versions


def test_a_run_that_was_killed_after_the_promotion_ends_as_it_would_have(
    platform: Platform, monkeypatch
) -> None:
    run = platform.train("run-1")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("orchestration.promotion._write_down", killed)
        with pytest.raises(KeyboardInterrupt):
            platform.decide(run)
    assert platform.champion().version == run.versions["item-item"]
    assert "gate" not in platform.champion().tags
    made = platform.decide(run)
    assert (made.promoted, made.reason) == (True, "item-item is the first champion")
    assert platform.champion().tags["gate"] == "promoted"
    assert "replaced_version" not in platform.champion().tags


def test_a_champion_moved_between_the_decision_and_its_alias_stays(platform: Platform, monkeypatch) -> None:
    run = platform.train("run-1")
    move = promotion.promote

    def moved_before(*arguments, **options):
        platform.by_hand(run.versions["als"])
        return move(*arguments, **options)

    monkeypatch.setattr(promotion, "promote", moved_before)
    made = platform.decide(run)
    assert (made.promoted, made.champion_kind) == (False, "als")
    assert "moved while the gate decided" in made.reason


def test_nothing_new_changes_nothing_and_newer_data_renew_the_champion(platform: Platform) -> None:
    first = platform.train("run-1")
    platform.decide(first)
    same = platform.decide(platform.train("run-2"))
    assert (same.promoted, same.champion_version) == (False, first.versions["item-item"])
    assert "nothing newer" in same.reason
    later = platform.train("run-3", "later")
    renewed = platform.decide(later)
    assert (renewed.promoted, renewed.reason) == (True, "item-item again, on newer data")
    assert renewed.champion_before == first.versions["item-item"]
    assert platform.champion().tags["replaced_version"] == str(first.versions["item-item"])


def test_after_a_rollback_the_gate_leaves_the_champion_alone_for_a_while(platform: Platform) -> None:
    first = platform.train("run-1")
    platform.decide(first)
    second = platform.train("run-2", "later")
    platform.decide(second)
    back = promotion.rollback(platform.settings, now=NOW)
    assert back.version == first.versions["item-item"]
    third = replace(second, dagster_run_id="run-3", started=NOW + timedelta(hours=1))
    kept = platform.decide(third, now=NOW + timedelta(days=1))
    assert (kept.promoted, kept.champion_version) == (False, back.version)
    assert "put back by a person" in kept.reason
    fourth = replace(third, dagster_run_id="run-4")
    assert platform.decide(fourth, now=NOW + timedelta(days=8)).promoted


def test_a_champion_moved_by_hand_during_the_training_stays(platform: Platform) -> None:
    platform.decide(platform.train("run-1"))
    run = platform.train("run-2", "later")
    platform.by_hand(run.versions["als"])
    made = platform.decide(run, now=NOW + timedelta(minutes=1))
    assert (made.promoted, made.champion_kind) == (False, "als")
    assert "by hand during the training: it stays there" in made.reason
    assert made.by_hand is not None
    assert platform.champion().tags["promoted_by"] == "hand"


def test_a_persons_choice_is_renewed_but_not_replaced_until_the_hold_is_over(platform: Platform) -> None:
    first = platform.train("run-1")
    platform.by_hand(first.versions["popularity"])
    seen = promotion.record_manual_promotion(platform.settings, now=NOW)
    assert seen is not None
    event = observation(seen)
    assert event.asset_key.to_user_string() == "promotion_decision"
    assert event.metadata["champion"].value == f"popularity, version {first.versions['popularity']}"
    second = replace(platform.train("run-2", "later"), started=NOW + timedelta(hours=1))
    made = platform.decide(second, now=NOW + timedelta(days=1))
    assert [d["promote"] for d in made.decisions] == [False, True]
    assert made.decisions[0]["reason"].startswith("a person chose the champion, until 2026-11-27")
    assert made.champion_version == second.versions["popularity"]
    # The hold goes with the recipe, and ends.
    third = replace(second, dagster_run_id="run-3")
    assert not platform.decide(third, now=NOW + timedelta(days=2)).promoted
    fourth = replace(second, dagster_run_id="run-4")
    won = platform.decide(fourth, now=NOW + timedelta(days=8))
    assert (won.promoted, won.champion_kind) == (True, "item-item")
    assert won.decisions[0]["case"] == "other recipe"
    assert "hold_until" not in platform.champion().tags


def test_a_champion_counts_the_challengers_it_withstood_once_a_training_set(platform: Platform) -> None:
    platform.decide(platform.train("run-1"))
    for name, data, tests in (
        ("run-2", "first", "1"),
        ("run-3", "first", "1"),
        ("run-4", "later", "2"),
    ):
        run = platform.train(name, data)
        made = platform.decide(run, kind="popularity")
        assert platform.champion().tags["gate_tests"] == tests
        assert platform.champion().kind == "item-item"
    # The last one had newer data, so that the champion was renewed, with what it has withstood.
    assert (made.promoted, made.champion_version) == (True, run.versions["item-item"])


def test_the_challenger_is_chosen_on_validation_rows_unless_a_person_says_which(platform: Platform) -> None:
    run = platform.train("run-1")
    scores = validation_scores(run.folders, run.training_set.path)
    made = decide_and_promote(platform.settings, run, now=NOW)
    best = max(("als", "item-item"), key=lambda kind: scores[kind])
    assert made.challenger_kind == best
    challenger = registry.by_alias(platform.settings, "challenger")
    assert challenger is not None
    assert (challenger.kind, challenger.version) == (best, made.challenger_version)
    told = made.decisions[0]["facts"]["chosen on validation rows, by NDCG@10"]
    assert told.startswith(f"{best} {scores[best]:.4f}") or scores["popularity"] > scores[best]
    with pytest.raises(UnknownKindError, match="'magic' is none of this run's popularity, als, item-item"):
        platform.decide(replace(run, dagster_run_id="run-2"), kind="magic")


def test_the_asset_shows_the_decision_and_every_check(platform: Platform) -> None:
    run = platform.train("run-1")
    folder = platform.settings.home / "records"
    folder.mkdir()
    records = {
        "training_set": run.training_set,
        "model_evaluation": run.judgement,
        "registered_models": RegisteredModels(versions=dict(run.versions)),
    }
    for name, record in records.items():
        (folder / f"{name}.json").write_text(record.model_dump_json())

    class StoresAt(Stores):
        @property
        def settings(self) -> Settings:
            return platform.settings

    stores = StoresAt()
    result = dg.materialize(
        [promotion_decision, *(dg.AssetSpec(name).with_io_manager_key("io_manager") for name in records)],
        selection=[promotion_decision],
        resources={"stores": stores, "io_manager": RecordIOManager(folder)},
        run_config={"ops": {"promotion_decision": {"config": {"kind": "item-item"}}}},
    )
    (said,) = result.asset_materializations_for_node("promotion_decision")
    metadata = {name: value.value for name, value in said.metadata.items()}
    assert metadata["promoted"] is True
    assert metadata["reason"] == "item-item is the first champion"
    assert metadata["champion"] == f"item-item, version {run.versions['item-item']}"
    assert "schema: catalogue" in metadata["checks"]
    assert "**Promoted**" in metadata["decision"]
    kept = PromotionDecision.model_validate_json((folder / "promotion_decision.json").read_text())
    assert (kept.promoted, kept.dagster_run_id) == (True, result.run_id)


def test_a_champion_of_unknown_making_is_replaced_unless_a_person_chose_it(platform: Platform) -> None:
    first = platform.train("run-1")
    platform.decide(first)
    version = str(first.versions["item-item"])
    platform.client.delete_model_version_tag(registry.MODEL_NAME, version, "recipe")
    platform.client.set_model_version_tag(registry.MODEL_NAME, version, "promoted_by", "hand")
    kept = platform.decide(replace(platform.train("run-2", "later"), started=NOW + timedelta(hours=1)))
    assert not kept.promoted
    assert "a person chose it: promote by hand" in kept.reason
    platform.client.set_model_version_tag(registry.MODEL_NAME, version, "promoted_by", "gate")
    run = platform.train("run-3", "later")
    made = platform.decide(run)
    assert (made.promoted, made.champion_version) == (True, run.versions["item-item"])
    assert made.decisions[0]["case"] == "first"
    assert "nobody to compare with" in made.reason
    assert platform.champion().tags["replaced_version"] == version


def test_a_home_of_before_has_its_champion_replaced_by_the_gate(platform: Platform) -> None:
    """Its code set the alias and wrote nothing on the version."""
    first = platform.train("run-1")
    version = first.versions["item-item"]
    for tag in ("recipe", "training_columns", "training_column_names", "training_set_sha256"):
        platform.client.delete_model_version_tag(registry.MODEL_NAME, str(version), tag)
    platform.by_hand(version)
    made = platform.decide(platform.train("run-2", "later"))
    assert (made.promoted, made.by_hand, made.champion_before) == (True, None, version)


def test_versions_say_their_columns_and_one_with_the_hash_alone_holds_nobody_back(platform: Platform) -> None:
    first = platform.train("run-1")
    platform.decide(first)
    assert "interactions.parquet: user_id" in json.loads(platform.champion().tags["training_column_names"])
    version = str(first.versions["item-item"])
    platform.client.delete_model_version_tag(registry.MODEL_NAME, version, "training_column_names")
    platform.client.set_model_version_tag(registry.MODEL_NAME, version, "training_columns", "of another set")
    made = platform.decide(platform.train("run-2", "later"))
    assert made.promoted
    assert "is not recorded" in made.text


def test_a_renewed_champion_is_held_against_what_its_version_scored(platform: Platform) -> None:
    platform.decide(platform.train("run-1"))
    run_id = platform.champion().run_id
    platform.client.log_metric(run_id, "ndcg_at_10", 2.0)  # more than there can be
    made = platform.decide(platform.train("run-2", "later"))
    assert not made.promoted
    failed = [check["name"] for check in made.decisions[0]["checks"] if not check["passed"]]
    assert failed == ["fallen"]


def test_a_kind_that_a_person_names_wins_as_the_best_of_all(platform: Platform) -> None:
    run = platform.train("run-1")
    scores = validation_scores(run.folders, run.training_set.path)
    best, second = sorted(("als", "item-item"), key=lambda kind: -scores[kind])
    promotion.promote(platform.settings, run.versions["popularity"], reason="", expected=None)
    asked = decide_and_promote(platform.settings, run, now=NOW, challenger=second)
    assert asked.decisions[0]["candidates"] == len(KINDS)
    platform.by_hand(run.versions["popularity"])
    chosen = decide_and_promote(
        platform.settings, replace(run, dagster_run_id="run-2"), now=NOW + timedelta(days=30), challenger=best
    )
    assert [decision["candidates"] for decision in chosen.decisions] == [1] * len(chosen.decisions)


def test_newer_data_are_no_reason_for_a_person_to_give(platform: Platform) -> None:
    run = platform.train("run-1")
    with pytest.raises(ConfigurationError, match=r"smaller, faster, more diverse .got 'newer data'"):
        decide_and_promote(platform.settings, run, now=NOW, reason="newer data")
    assert promotion.champion(platform.settings) is None


def test_versions_and_folders_of_different_trainings_are_refused(platform: Platform) -> None:
    first = platform.train("run-1")
    later = platform.train("run-2", "later")
    with pytest.raises(ModelFilesError, match=r"popularity: version .* is of another training set"):
        platform.decide(replace(later, versions=first.versions))
    with pytest.raises(ModelFilesError, match=r"the judgement is of the training set first.dir"):
        platform.decide(replace(later, judgement=first.judgement))
    swapped = {**later.versions, "als": later.versions["item-item"]}
    with pytest.raises(ModelFilesError, match=r"als: version .* is of another kind"):
        platform.decide(replace(later, versions=swapped))
    report = platform.folders["als"] / "report.json"
    told = json.loads(report.read_text())
    told["params"]["n_factors"] = 5
    report.unlink()
    report.write_text(json.dumps(told))
    with pytest.raises(ModelFilesError, match=r"als: version .* is of another recipe"):
        platform.decide(later)
    with pytest.raises(registry.VersionNotFoundError, match="no version 999"):
        platform.decide(replace(later, versions={"als": 999}))
    assert promotion.champion(platform.settings) is None
