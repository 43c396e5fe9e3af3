"""The gate over what a run wrote: champions of the same recipe, of another, and such as nobody can fit any more."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.config import TrainConfig
from ml.errors import ConfigurationError, MismatchedHoldoutError, ModelFilesError
from ml.gate import Rules
from ml.gate_recipe import Recipe, refit
from ml.gate_run import Champion, gate
from ml.gate_schema import column_names, columns_hash
from ml.phases import Phases
from ml.pipeline import judge, train
from ml.saved import load
from ml.training_set import TrainingSet
from tests.ml.planted import catalogue, taste_videos, tastes, write_folder

RULES = Rules(seed_noise={}, slice_users=10_000, other_noise=0.0, max_latency_ms=1000)
CONFIG = {
    "item_item": {"regularisation": 5.0},
    "als": {"n_factors": 4, "n_epochs": 3},
    "hybrid": {"parts": ("als", "item-item")},
}
KINDS = ("popularity", "als", "item-item", "hybrid")


class Run:
    """A training set of planted tastes, three kinds and their hybrid trained on it, and their judgement."""

    def __init__(self, folder: Path) -> None:
        self.data = write_folder(folder / "set", tastes(users=200), catalogue(taste_videos()))
        self.dirs = {kind: folder / kind for kind in KINDS}
        for kind in KINDS:
            train(kind, self.data, self.dirs[kind], config=CONFIG, parts=self.dirs)
        self.judgement = folder / "judgement"
        self.better = judge(self.dirs, self.data, self.judgement).better
        self.sha256 = TrainingSet.load(self.data).sha256

    def champion(self, kind: str, **changes) -> Champion:
        """A champion of this run's recipe, made a day before it."""
        known = Champion(
            Recipe.of_run(kind, self.dirs), "other", newest_ms=1, columns=column_names(self.data)
        )
        return replace(known, **changes)

    def decide(self, kind: str, champion: Champion | None, rules: Rules = RULES, **options):
        return gate(kind, self.dirs, self.judgement, self.data, champion=champion, rules=rules, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"))


def changed(recipe: Recipe, **params) -> Recipe:
    return replace(recipe, params={**recipe.params, **params})


def names(decision) -> list[str]:
    return [check.name for check in decision.failed]


def test_the_first_champion_is_the_best_kind_and_its_evidence_names_every_check(run: Run) -> None:
    (decision,) = run.decide(run.better, None, facts={"version": 7})
    assert decision.promote, decision.reason
    assert decision.case == "first"
    assert dict(decision.facts) == {"version": 7}
    assert [check.name for check in decision.checks] == [
        *("users", "popularity", "floor", "latency", "size"),
        *("schema: readable", "schema: kind", "schema: training set", "schema: catalogue", "schema: users"),
    ]


def test_where_the_best_does_not_beat_popularity_popularity_is_the_first_champion(run: Run) -> None:
    strict = replace(RULES, max_size_mb=(run.dirs["popularity"] / "holdout").stat().st_size)
    hopeless, fallback = run.decide("als", None, replace(strict, max_size_mb=0.01))
    assert not hopeless.promote
    assert fallback.challenger == "popularity"


def test_the_champions_recipe_is_renewed_on_newer_data_and_not_on_the_same(run: Run) -> None:
    (decision,) = run.decide("item-item", run.champion("item-item"))
    assert (decision.promote, decision.case) == (True, "newer data")
    newest = load(run.dirs["item-item"] / "full").info["newest_ms"]
    (again,) = run.decide(
        "item-item", run.champion("item-item", newest_ms=newest, training_set_sha256=run.sha256)
    )
    assert names(again) == ["newer data"]
    (erased,) = run.decide("item-item", run.champion("item-item", newest_ms=newest))
    assert erased.promote  # other rows up to the same time
    (older,) = run.decide("item-item", run.champion("item-item", newest_ms=newest + 1))
    assert names(older) == ["newer data"]


def test_seeds_and_shares_held_out_make_no_other_recipe(run: Run) -> None:
    recipe = Recipe.of_run("als", run.dirs)
    assert recipe.same_as(changed(recipe, seed=5, test_fraction=0.3))
    assert not recipe.same_as(changed(recipe, n_factors=5))
    assert not recipe.same_as(Recipe.of_run("item-item", run.dirs))
    hybrid = Recipe.of_run("hybrid", run.dirs)
    assert hybrid.parts.keys() == {"als", "item-item"}
    assert not hybrid.same_as(replace(hybrid, parts={**hybrid.parts, "als": changed(recipe, n_factors=5)}))
    assert Recipe.from_json(hybrid.to_json()) == hybrid
    with pytest.raises(ConfigurationError, match="not a recipe"):
        Recipe.from_json('{"params": {}}')


def test_another_recipe_of_this_run_is_judged_by_this_runs_models(run: Run) -> None:
    decision, *more = run.decide("item-item", run.champion("popularity"))
    assert (decision.promote, decision.case, decision.incumbent) == (True, "other recipe", "popularity")
    assert more == []


def test_a_champion_that_stays_is_renewed_on_newer_data(run: Run) -> None:
    lost, renewed = run.decide("popularity", run.champion("item-item"))
    assert names(lost)[0] == "wins"
    assert (renewed.promote, renewed.challenger, renewed.case) == (True, "item-item", "newer data")


def test_a_person_can_hold_other_recipes_back_while_the_data_are_renewed(run: Run) -> None:
    held, renewed = run.decide("item-item", run.champion("popularity"), held="promoted by hand")
    assert (held.promote, held.reason) == (False, "promoted by hand")
    assert (renewed.promote, renewed.challenger) == (True, "popularity")


@pytest.mark.parametrize("kind", ["item-item", "hybrid"])
def test_a_recipe_fitted_again_is_the_model_this_run_would_have_made(run: Run, kind: str) -> None:
    data = TrainingSet.load(run.data)
    general = TrainConfig()
    phases = Phases.of(data, general.test_fraction, general.validation_fraction)
    model = refit(Recipe.of_run(kind, run.dirs), phases, run.dirs, general)
    own = load(run.dirs[kind] / "holdout")
    users = ["A-fan-1", "B-fan-2", "nobody"]
    np.testing.assert_allclose(model.scores(users), own.scores(users), rtol=1e-5, atol=1e-6)


def test_a_hybrid_with_another_part_has_that_part_fitted_anew(run: Run) -> None:
    data = TrainingSet.load(run.data)
    phases = Phases.of(data, 0.2, 0.2)
    hybrid = Recipe.of_run("hybrid", run.dirs)
    parts = {**hybrid.parts, "item-item": changed(hybrid.parts["item-item"], regularisation=1000.0)}
    model = refit(replace(hybrid, parts=parts), phases, run.dirs, TrainConfig())
    own = load(run.dirs["hybrid"] / "holdout")
    assert not np.allclose(model.scores(["A-fan-1"]), own.scores(["A-fan-1"]))


def test_a_champion_of_other_parameters_is_fitted_on_this_runs_rows(run: Run) -> None:
    """Its recipe forgets everything, so that it is no better than chance."""
    bad = changed(Recipe.of_run("item-item", run.dirs), regularisation=1e9, neighbours=1)
    (decision,) = run.decide("item-item", run.champion("item-item", recipe=bad))
    assert (decision.promote, decision.case, decision.incumbent) == (True, "other recipe", "item-item")
    assert decision.evidence is not None
    assert decision.evidence.challenger > decision.evidence.incumbent


def test_a_new_recipe_as_good_as_the_one_no_longer_trained_is_taken_for_its_newer_data(run: Run) -> None:
    near = changed(Recipe.of_run("item-item", run.dirs), regularisation=5.001)
    champion = run.champion("item-item", recipe=near)
    (decision,) = run.decide("item-item", champion)
    assert decision.promote, decision.reason
    assert decision.reason == (
        "item-item is not surely worse than item-item, whose recipe is trained no more: newer data"
    )
    newest = load(run.dirs["item-item"] / "full").info["newest_ms"]
    (stale,) = run.decide("item-item", replace(champion, newest_ms=newest + 1))
    assert names(stale) == ["newer data"]


def test_a_test_counts_once_for_each_training_set(run: Run) -> None:
    attempts = [
        run.decide("als", run.champion("popularity", tests=tests, tested_on=on))[0].attempt
        for tests, on in ((0, None), (3, "other"), (3, run.sha256))
    ]
    assert attempts == [1, 4, 3]


def test_a_champion_that_cannot_be_judged_stays(run: Run) -> None:
    gone = changed(Recipe.of_run("als", run.dirs), a_setting_of_long_ago=1)
    (decision,) = run.decide("als", run.champion("als", recipe=gone))
    assert not decision.promote
    assert "cannot be fitted by this code" in decision.reason
    assert "a_setting_of_long_ago" in decision.reason


def test_a_champion_of_unknown_making_is_nobody_to_compare_with_unless_a_person_chose_it(run: Run) -> None:
    unknown = run.champion("als", recipe=None, columns=None)
    (decision,) = run.decide("item-item", unknown)
    assert (decision.promote, decision.case, decision.evidence) == (True, "first", None)
    assert decision.reason == (
        "item-item is the first champion (the champion's version does not say what it was made with: "
        "nobody to compare with)"
    )
    # The popularity check and the floor decide, and popularity does not take its place by itself.
    (floored,) = run.decide("item-item", unknown, replace(RULES, precision_floor=0.9))
    assert names(floored) == ["floor"]
    for kept in (
        run.decide("item-item", replace(unknown, by_hand=True)),
        run.decide("item-item", unknown, held="a person chose it"),
    ):
        assert [(d.promote, "promote by hand" in d.reason) for d in kept] == [(False, True)]


def test_a_column_more_is_welcome_and_a_column_less_holds_back(run: Run) -> None:
    had = column_names(run.data)
    assert "interactions.parquet: user_id" in had
    seen = {}
    for name, columns in (
        ("same", had),
        ("more", had[:-1]),
        ("less", [*had, "users.parquet: age"]),
        ("none", None),
    ):
        (decision,) = run.decide("item-item", run.champion("item-item", columns=columns))
        (check,) = [check for check in decision.checks if check.name == "schema: columns"]
        assert decision.promote is check.passed
        seen[name] = (check.passed, check.says)
    assert seen == {
        "same": (True, "the columns the champion was trained on"),
        "more": (True, f"the columns the champion was trained on, and {had[-1]}"),
        "less": (False, "without columns the champion was trained on: users.parquet: age"),
        "none": (True, f"{len(had)} columns; which the champion was trained on is not recorded"),
    }


def test_a_renewed_recipe_that_fell_far_below_what_its_champion_scored_is_held_back(run: Run) -> None:
    (now,) = run.decide("item-item", run.champion("item-item"))
    assert now.evidence is not None
    score = now.evidence.challenger
    fell = [
        names(run.decide("item-item", run.champion("item-item", metrics=metrics))[0])
        for metrics in ({"ndcg_at_10": score * 1.24}, {"ndcg_at_10": score * 1.26}, {"coverage_at_10": 3.0})
    ]
    assert fell == [[], ["fallen"], ["fallen: coverage"]]
    (unsaid,) = [check for check in now.checks if check.name == "fallen"]
    assert (unsaid.passed, unsaid.limit) == (True, None)
    assert unsaid.says.endswith("what the champion's was is not recorded")


def test_with_too_few_users_popularity_is_the_first_champion_and_is_renewed(run: Run) -> None:
    few = replace(RULES, min_users=10_000, precision_floor=0.9)
    hopeless, fallback = run.decide("als", None, few)
    assert names(hopeless) == ["users"]
    assert (fallback.promote, fallback.reason) == (True, "popularity is the first champion")
    lost, renewed = run.decide("als", run.champion("popularity"), few)
    assert (lost.promote, lost.attempt, "too few to judge" in lost.reason) == (False, 0, True)
    assert (renewed.promote, renewed.case) == (True, "newer data")


def test_a_model_that_cannot_be_read_or_is_of_another_set_is_not_promoted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "report.json").write_text((run.dirs["als"] / "report.json").read_text())
    about = json.loads((run.dirs["als"] / "full" / "model.json").read_text())
    (tmp_path / "full" / "model.json").write_text(json.dumps(about | {"format": 99}))
    dirs = run.dirs | {"als": tmp_path}
    champion = run.champion("popularity")
    decision = gate("als", dirs, run.judgement, run.data, champion=champion, rules=RULES)[0]
    assert names(decision) == ["schema: readable"]


def test_files_that_do_not_belong_together_are_refused(run: Run, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "set", tastes(users=20), catalogue(taste_videos()))
    with pytest.raises(MismatchedHoldoutError, match="another training set"):
        gate("als", run.dirs, run.judgement, other, champion=None, rules=RULES)
    with pytest.raises(ModelFilesError, match="not a judgement"):
        gate("als", run.dirs, tmp_path, run.data, champion=None, rules=RULES)


def test_the_hash_of_columns_is_of_names_and_types_alone(run: Run, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "set", tastes(users=20, seed=3), catalogue(taste_videos()))
    assert columns_hash(other) == columns_hash(run.data)
    (other / "watched.parquet").unlink()
    assert columns_hash(other) != columns_hash(run.data)
