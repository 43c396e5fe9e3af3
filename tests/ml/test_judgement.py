"""What a judgement says, writes and keeps, on models whose lists are known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ml.errors import MismatchedHoldoutError, ModelFilesError
from ml.evaluate import Evaluation, TestUsers
from ml.factors import FactorModel
from ml.ids import lookup
from ml.judgement import Judgement, judge
from ml.metrics import Interval, intervals
from ml.plots import PICTURES
from ml.report import verdict
from ml.slices import Slice
from ml.split import time_split
from ml.summaries import accuracy, slice_facts
from ml.training_set import TrainingSet
from ml.user_metrics import UserMetrics
from tests.ml.planted import HIT, catalogue, everybody, taste_videos, tastes, write_folder

# Better and worse rankings of people whose taste is known: A fans want A videos.
KINDS = {"two-tower": 1.0, "als": 0.9, "svd": -1.0, "popularity": 0.0, "hybrid": 1.0}


@pytest.fixture(scope="module")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training set")
    return write_folder(folder, tastes(), catalogue(taste_videos()), people=everybody(tastes()))


@pytest.fixture(scope="module")
def folders(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for kind, skill in KINDS.items():
        made(kind, skill, training_set).save(folder / kind / "holdout")
    return {kind: folder / kind for kind in KINDS}


def made(kind: str, skill: float, training_set: Path, videos: list[str] | None = None) -> FactorModel:
    """Scores = skill * (whether the letter is the user's own), and `HIT` first for the popularity model."""
    data = TrainingSet.load(training_set)
    split = time_split(data.interactions, 0.2)
    fans = np.unique(split.train.user_ids) if kind != "popularity" else np.empty(0, dtype="<U1")
    video_ids = np.asarray(sorted(videos or taste_videos()))
    letters = np.stack([np.char.startswith(video_ids, letter) for letter in "AB"], axis=1)
    own = np.stack([np.char.startswith(fans, letter) for letter in "AB"], axis=1)
    bias = np.zeros(len(video_ids), dtype=np.float32)
    if kind == "popularity":
        bias[lookup(video_ids, [HIT])] = 1
    return FactorModel(
        kind=kind,
        user_ids=fans,
        video_ids=video_ids,
        user_factors=np.float32(skill) * own.astype(np.float32),
        video_factors=letters.astype(np.float32),
        user_bias=np.zeros(len(fans), dtype=np.float32),
        video_bias=bias,
        info={
            "training_set_sha256": data.sha256,
            "cut_ms": split.cut_ms,
            "params": {"test_fraction": 0.2},
        },
    )


@pytest.fixture(scope="module")
def out(folders: dict[str, Path], training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judgement") / "j"
    judge(folders, training_set, folder)
    return folder


@pytest.fixture(scope="module")
def judgement(folders: dict[str, Path], training_set: Path, out: Path) -> Judgement:
    return judge(folders, training_set, out)


def test_the_best_kind_that_is_not_the_baseline_is_named_with_its_runner_up(judgement: Judgement) -> None:
    primary = {kind: found["ndcg_at_10"].value for kind, found in judgement.metrics.items()}
    # three kinds have the same lists: the first by name, and the lead over the next is none at all
    assert (judgement.better, judgement.runner_up) == ("als", "hybrid")
    assert primary["two-tower"] == primary["als"] == primary["hybrid"] > primary["popularity"]
    assert judgement.difference == Interval(0.0, 0.0, 0.0)
    assert not judgement.distinguishable
    assert judgement.pair("hybrid", "als").comparison.p_value == 1


def test_every_two_kinds_are_tested_against_each_other(judgement: Judgement) -> None:
    assert len(judgement.pairs) == 10
    assert len({frozenset((pair.better, pair.worse)) for pair in judgement.pairs}) == 10
    lead = judgement.pair("svd", "two-tower")
    assert (lead.better, lead.worse) == ("two-tower", "svd")
    over = judgement.over_popularity["svd"].value
    assert lead.comparison.difference.value == pytest.approx(
        judgement.over_popularity["two-tower"].value - over
    )
    with pytest.raises(KeyError):
        judgement.pair("svd", "content")


def test_a_lead_beyond_noise_is_said_to_be_one(
    folders: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    pair = judge({kind: folders[kind] for kind in ("two-tower", "svd")}, training_set, tmp_path / "j")
    assert pair.distinguishable
    assert pair.over_popularity == {}
    assert "more than noise" in verdict(pair)
    assert verdict(pair).startswith("two-tower has the highest NDCG@10: ")


def test_strangers_get_the_popularity_list_but_from_the_hybrid(judgement: Judgement) -> None:
    """40 strangers want `HIT`: popularity has it first, the hybrid's own list for strangers starts with it by luck
    of the alphabet, so it is told apart by what comes after."""
    new = judgement.slices["new_users"]["metrics"]
    assert judgement.new_users == 40
    assert new["two-tower"] == new["svd"] == new["popularity"]
    assert new["popularity"]["mrr_at_10"].value == 1


def test_the_hybrids_own_list_for_strangers_is_judged(
    folders: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    own = made("hybrid", 1.0, training_set)
    bias = own.video_bias.copy()
    bias[lookup(own.video_ids, [HIT])] = -5
    fields = {**vars(own), "video_bias": bias}
    FactorModel(**fields).save(tmp_path / "hybrid" / "holdout")
    models = {"popularity": folders["popularity"], "hybrid": tmp_path / "hybrid"}
    new = judge(models, training_set, tmp_path / "j").slices["new_users"]["metrics"]
    assert (new["hybrid"]["mrr_at_10"].value, new["popularity"]["mrr_at_10"].value) == (0, 1)


def test_slices_have_their_users_their_lead_and_what_they_could_show(judgement: Judgement) -> None:
    known, new = judgement.slices["known_users"], judgement.slices["new_users"]
    assert known["users"] + new["users"] == judgement.users
    for kind, metrics in judgement.metrics.items():
        parts = [part["metrics"][kind]["ndcg_at_10"].value * part["users"] for part in (known, new)]
        assert sum(parts) / judgement.users == pytest.approx(metrics["ndcg_at_10"].value)
    assert (known["of"], judgement.slices["head_videos"]["of"]) == ("users", "videos")
    assert new["over_popularity"]["two-tower"] == Interval(0.0, 0.0, 0.0)
    assert known["detectable"]["svd"] > 0
    assert judgement.slices["device_ios"]["users"] == judgement.users


def test_an_empty_slice_says_so(judgement: Judgement) -> None:
    web = judgement.slices["device_web"]
    assert web == {"about": "the profile's device is web", "of": "users", "users": 0, "metrics": {}}


def test_no_hit_is_not_taken_for_certain(judgement: Judgement) -> None:
    """svd shows A fans the B videos first, so none of its known users has a hit within ten places."""
    known = judgement.slices["known_users"]
    found = known["metrics"]["svd"]["hit_rate_at_10"]
    assert found.value == found.low == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / known["users"]))


def test_two_models_without_a_hit_are_not_taken_for_equal_for_certain() -> None:
    silent, lucky = np.zeros(50), np.asarray([0.5] + [0.0] * 49)
    parts = [Slice("all", "", users=np.ones(50, dtype=np.bool_))]
    users = TestUsers(
        user_ids=np.asarray([f"u{i:02d}" for i in range(50)]),
        video_ids=np.asarray(["v"]),
        relevant=(np.arange(50), np.zeros(50, dtype=np.int64)),
        met=(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)),
        new=np.zeros(50, dtype=np.bool_),
    )
    nothing = np.full((50, 1), -1, dtype=np.int32)
    found = {
        kind: Evaluation({"ndcg_at_10": values}, {}, nothing, nothing)
        for kind, values in (("popularity", silent), ("als", silent), ("svd", lucky))
    }
    facts, sliced = slice_facts(found, users, parts, seed=0)
    bound = 0.5 * (1 - 0.025 ** (1 / 50))  # no hit was worth more than svd's
    tie = facts["all"]["over_popularity"]["als"]
    assert (tie.value, tie.low, tie.high) == pytest.approx((0, -bound, bound))
    assert facts["all"]["metrics"]["als"]["ndcg_at_10"].high == pytest.approx(bound)
    # one of 50 is 2%, and at most 10.65% (Clopper and Pearson)
    assert facts["all"]["metrics"]["svd"]["ndcg_at_10"].high == pytest.approx(0.5 * 0.1065, abs=1e-4)
    assert facts["all"]["over_popularity"]["svd"].value == pytest.approx(0.01)
    assert set(facts["all"]["detectable"]) == {"svd"}
    assert sliced["svd"]["all"].tolist() == lucky.tolist()


def test_many_hits_leave_the_bootstrap_alone() -> None:
    column = np.asarray([1.0] * 10 + [0.0] * 90)
    assert accuracy({"svd": {"x": column}}, seed=0)["svd"] == intervals({"x": column}, seed=0)
    one_less = np.asarray([1.0] * 9 + [0.0] * 91)
    assert accuracy({"svd": {"x": one_less}}, seed=0)["svd"]["x"].high == pytest.approx(0.164, abs=1e-3)
    assert accuracy({"svd": {"x": np.ones(2)}}, seed=0)["svd"]["x"] == Interval(1.0, 1.0, 1.0)


def test_the_most_that_a_ranking_could_reach_is_told(judgement: Judgement, out: Path) -> None:
    wanted = np.round(10 * UserMetrics.load(out).of_kind("two-tower")["precision_at_10"])
    assert judgement.ceilings["recall_at_10"] == 1
    assert wanted.mean() / 10 <= judgement.ceilings["precision_at_10"] <= 0.3


def test_lists_are_described(judgement: Judgement) -> None:
    assert set(judgement.lists["svd"]) == {
        f"{name}_at_{k}"
        for name in ("diversity", "novelty", "popularity", "popularity_lift")
        for k in (10, 20)
    }
    assert set(judgement.coverage["svd"]) == {
        "coverage_at_10",
        "coverage_at_20",
        "gini_at_10",
        "gini_at_20",
    }
    # one list for everybody is shared out less evenly than two
    assert judgement.coverage["popularity"]["gini_at_10"] > judgement.coverage["two-tower"]["gini_at_10"]


def test_costs_are_kept_out_of_what_must_come_out_the_same(judgement: Judgement, out: Path, folders) -> None:
    written = json.loads((out / "judgement.json").read_text())
    assert "costs" not in written
    costs = json.loads((out / "costs.json").read_text())
    assert costs == judgement.costs
    assert set(costs) == set(KINDS)
    size = sum(path.stat().st_size for path in (folders["svd"] / "holdout").iterdir())
    assert costs["svd"]["bytes"] == size
    assert 0 < costs["svd"]["p50_ms"] <= costs["svd"]["p95_ms"]


def test_judging_again_writes_the_same_bytes(
    folders: dict[str, Path], training_set: Path, out: Path, tmp_path: Path
) -> None:
    judge(folders, training_set, tmp_path / "again")
    for name in ("judgement.json", "per_user.npz", *PICTURES):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name


def test_every_users_metrics_are_kept(judgement: Judgement, out: Path) -> None:
    kept = UserMetrics.load(out)
    assert (len(kept.user_ids), kept.kinds) == (judgement.users, tuple(sorted(KINDS)))
    of_svd = kept.of_kind("svd")
    for name in ("ndcg_at_10", "recall_at_20", "novelty_at_10"):
        expected = {**judgement.metrics["svd"], **judgement.lists["svd"]}[name].value
        assert of_svd[name].mean() == pytest.approx(expected, abs=1e-6)
    new = kept.in_slice("popularity", "new_users")
    assert int(np.isfinite(new).sum()) == judgement.new_users
    assert set(kept.user_ids[np.isfinite(new)].tolist()) == {f"stranger-{i}" for i in range(40)}
    assert np.isnan(kept.in_slice("popularity", "device_web")).all()
    with pytest.raises(KeyError, match="content"):
        kept.of_kind("content")


def test_metrics_that_are_not_there_or_damaged_are_named(tmp_path: Path, out: Path) -> None:
    with pytest.raises(ModelFilesError, match="not the metrics of a judgement"):
        UserMetrics.load(tmp_path)
    (tmp_path / "per_user.npz").write_bytes((out / "per_user.npz").read_bytes()[:500])
    with pytest.raises(ModelFilesError, match="not the metrics of a judgement"):
        UserMetrics.load(tmp_path)


def test_models_that_rank_other_videos_are_not_compared(
    folders: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    made("content", 1.0, training_set, taste_videos()[1:]).save(tmp_path / "content" / "holdout")
    with pytest.raises(MismatchedHoldoutError, match="content ranks other videos than svd"):
        judge({"svd": folders["svd"], "content": tmp_path / "content"}, training_set, tmp_path / "j")


def test_the_page_holds_its_pictures_and_asks_nothing_of_the_network(out: Path) -> None:
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == len(PICTURES)
    assert "http" not in page
    assert 'src="data' in page
    for said in ("two-tower over svd", "new users", "sign-flip", "Holm", "nobody", "Recall@20"):
        assert said in page
    assert "nan" not in page.lower().split("base64")[0]


def test_nothing_in_the_judgement_is_without_a_number(out: Path) -> None:
    def numbers(value: object) -> list[float]:
        if isinstance(value, dict):
            return [n for inner in value.values() for n in numbers(inner)]
        if isinstance(value, list):
            return [n for inner in value for n in numbers(inner)]
        return [float(value)] if isinstance(value, (int, float)) else []

    found = numbers(json.loads((out / "judgement.json").read_text()))
    assert len(found) > 1000
    assert all(math.isfinite(number) for number in found)
