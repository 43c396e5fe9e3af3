"""The challenger is chosen on validation rows, whatever the test rows say."""

from pathlib import Path

import numpy as np
import pytest

from ml.evaluate import TestUsers
from ml.gate_challenger import challenger_of, validation_scores
from ml.pipeline import train
from ml.split import time_split
from ml.training_set import TrainingSet
from tests.ml.planted import catalogue, taste_videos, tastes, write_folder

KINDS = ("popularity", "item-item")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    folder = tmp_path_factory.mktemp("run")
    data = write_folder(folder / "set", tastes(users=150), catalogue(taste_videos()))
    dirs = {kind: folder / kind for kind in KINDS}
    for kind in KINDS:
        train(kind, data, dirs[kind], config={"item_item": {"regularisation": 5.0}})
    return dirs, data


def test_the_model_that_knows_tastes_is_the_better_on_validation_rows(run) -> None:
    scores = validation_scores(*run)
    assert scores["item-item"] > 1.5 * scores["popularity"]
    assert challenger_of(scores) == "item-item"


def test_the_rows_after_the_cut_have_no_say(run, tmp_path: Path) -> None:
    dirs, data = run
    rows = TrainingSet.load(data).interactions
    after = rows.started_at_ms >= time_split(rows, 0.2).cut_ms
    rows.positives[after] = ~rows.positives[after]
    other = write_folder(tmp_path / "set", rows, catalogue(taste_videos()))
    assert validation_scores(dirs, other) == validation_scores(dirs, data)


def test_popularity_challenges_only_alone_and_ties_go_by_name() -> None:
    assert challenger_of({"popularity": 0.9, "svd": 0.1}) == "svd"
    assert challenger_of({"popularity": 0.9}) == "popularity"
    assert challenger_of({"svd": 0.1, "als": 0.1}) == "als"


def test_a_sample_of_users_keeps_their_own_pairs() -> None:
    users = TestUsers(
        user_ids=np.array(["a", "b", "c", "d"]),
        video_ids=np.array(["v", "w"]),
        relevant=(np.array([0, 1, 2, 3, 3]), np.array([0, 1, 0, 0, 1])),
        met=(np.array([1, 3]), np.array([0, 0])),
        new=np.array([True, False, True, False]),
    )
    assert users.some(4, seed=0) is users
    for seed in range(10):
        kept = users.some(2, seed)
        assert len(kept.user_ids) == 2
        for row, name in enumerate(kept.user_ids):
            was = users.user_ids.tolist().index(name)
            for pairs, all_pairs in ((kept.relevant, users.relevant), (kept.met, users.met)):
                assert pairs[1][pairs[0] == row].tolist() == all_pairs[1][all_pairs[0] == was].tolist()
            assert kept.new[row] == users.new[was]
