"""All kinds on KuaiRand-Pure, read from its CSVs without our ingestion."""

from pathlib import Path

import pytest

from ml.config import HybridConfig
from ml.pipeline import Judgement, judge, train
from ml.recommender import KINDS
from ml.training_set import TrainingSet
from tests.ml.kuairand import write_training_set

CONFIG = {"two_tower": {"epochs": 6}}  # less than its best, and enough; `make bench-models` has the defaults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def training_set(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_set(real_data / "KuaiRand-Pure", tmp_path_factory.mktemp("kuairand"))


@pytest.fixture(scope="module")
def judgement(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    folder = tmp_path_factory.mktemp("models")
    folders = {kind: folder / kind for kind in KINDS}
    for kind in KINDS:
        parts = {part: folders[part] for part in HybridConfig().parts} if kind == "hybrid" else {}
        train(kind, training_set, folders[kind], config=CONFIG, parts=parts)
    return judge(folders, training_set, folder / "judgement")


def test_the_training_set_has_the_rows_of_the_log(training_set: Path) -> None:
    data = TrainingSet.load(training_set)
    rows = data.interactions
    assert (len(rows), int(rows.positives.sum()), len(data.catalogue)) == (108_154, 50_179, 7_583)


def test_svd_predicts_ratings_better_than_their_mean(judgement: Judgement) -> None:
    ratings = judgement.ratings["svd"]
    assert ratings["rmse"].high < ratings["rmse_of_mean"].low
    assert ratings["rmse"].value == pytest.approx(1.703, abs=0.01)


def test_the_hybrid_ranks_better_than_each_of_its_parts_beyond_noise(judgement: Judgement) -> None:
    assert (judgement.better, judgement.distinguishable) == ("hybrid", True)
    for part in HybridConfig().parts:
        pair = judgement.pair("hybrid", part)
        assert (pair.better, pair.p_adjusted < 0.05) == ("hybrid", True)
    assert judgement.metrics["hybrid"]["ndcg_at_10"].low > 0.045


def test_two_tower_ranks_better_than_popularity_beyond_noise(judgement: Judgement) -> None:
    pair = judgement.pair("two-tower", "popularity")
    assert (pair.better, pair.p_adjusted < 0.05) == ("two-tower", True)
    assert judgement.over_popularity["two-tower"].low > 0
    assert judgement.metrics["two-tower"]["ndcg_at_10"].low > 0.035


def test_everybody_with_a_positive_on_a_video_new_to_them_is_judged(judgement: Judgement) -> None:
    assert (judgement.users, judgement.new_users, judgement.straddling_rows) == (6_703, 719, 5)
    new = judgement.slices["new_users"]["metrics"]
    assert new["svd"] == new["two-tower"] == new["popularity"]  # strangers are served the popularity list
