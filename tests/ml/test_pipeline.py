"""Training and judging from a folder, as Dagster and the command line do."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from ml.config import HybridConfig
from ml.dataset import Interactions
from ml.errors import (
    ConfigurationError,
    DivergedError,
    MismatchedHoldoutError,
    MissingPartError,
    UnknownKindError,
)
from ml.pipeline import judge, train
from ml.recommender import KINDS
from ml.saved import load
from ml.split import time_split
from tests.ml.planted import catalogue, interactions, met, taste_videos, tastes, write_folder

CONFIG = {"two_tower": {"epochs": 2, "batch_size": 64, "uniform_negatives": 16}}
PARTS = HybridConfig().parts


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("training set"), tastes(), catalogue(taste_videos()))


@pytest.fixture(scope="session")
def trained(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return train_all(KINDS, training_set, folder)


def train_all(kinds: Sequence[str], training_set: Path, folder: Path) -> dict[str, Path]:
    """Of these kinds; with the hybrid, its parts too."""
    folders = {kind: folder / kind for kind in kinds}
    for kind in sorted(kinds, key=lambda kind: kind == "hybrid"):
        parts = {part: folder / part for part in PARTS} if kind == "hybrid" else {}
        train(kind, training_set, folders[kind], config=CONFIG, parts=parts)
    return folders


def doctored(training_set: Path, folder: Path, change: Callable[[Interactions], None]) -> Path:
    """The training set with the rows after the cut changed."""
    rows = Interactions.from_parquet(training_set / "interactions.parquet")
    change(rows)
    return write_folder(folder, rows, catalogue(taste_videos()))


def test_what_is_judged_or_chosen_never_sees_a_row_after_the_cut(
    training_set: Path, trained: dict[str, Path], tmp_path: Path
) -> None:
    """Whatever the test rows say, the holdout model and all that was found by looking (epochs, weights of the blend)
    stay the same to the last bit; the full model does not."""

    def scramble(rows: Interactions) -> None:
        after = rows.started_at_ms >= time_split(rows, 0.2).cut_ms
        rows.ratings[after], rows.weights[after], rows.positives[after] = 2.5, 0.5, True
        rows.video_ids[after] = "never-played"[:4]

    other = doctored(training_set, tmp_path / "set", scramble)
    again = train_all(KINDS, other, tmp_path / "out")
    for kind in KINDS:
        found = [json.loads((f[kind] / "report.json").read_text())["found"] for f in (trained, again)]
        assert found[0] == found[1]
        for phase, same in (("validation", True), ("holdout", True), ("full", False)):
            old, new = load(trained[kind] / phase), load(again[kind] / phase)
            fans = ["A-fan-1", "B-fan-2"]
            videos = np.isin(new.video_ids, old.video_ids)
            equal = np.array_equal(old.scores(fans), new.scores(fans)[:, videos])
            assert equal is same, (kind, phase)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_chosen_with_never_sees_a_row_after_the_inner_cut(
    kind: str, training_set: Path, trained: dict[str, Path]
) -> None:
    outer = time_split(Interactions.from_parquet(training_set / "interactions.parquet"), 0.2)
    inner = time_split(outer.train, 0.2)
    cuts = {phase: load(trained[kind] / phase).info["cut_ms"] for phase in ("validation", "holdout", "full")}
    assert cuts == {"validation": inner.cut_ms, "holdout": outer.cut_ms, "full": None}
    newest = {
        phase: load(trained[kind] / phase).info["newest_ms"] for phase in ("validation", "holdout", "full")
    }
    assert newest["validation"] < inner.cut_ms <= newest["holdout"] < outer.cut_ms <= newest["full"]


def test_a_report_says_how_the_training_went(training_set: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def listen(phase: str, epoch: int, epochs: int, loss: float) -> None:
        told.append((phase, epoch, epochs))

    report = train("svd", training_set, tmp_path / "m", config={"svd": {"n_epochs": 2}}, progress=listen)
    phases = ("validation", "holdout", "full")
    assert told == [(phase, epoch, 2) for phase in phases for epoch in (1, 2)]
    assert report.params == {
        "test_fraction": 0.2,
        "validation_fraction": 0.2,
        "seed": 0,
        "n_factors": 100,
        "n_epochs": 2,
        "learning_rate": 0.005,
        "regularisation": 0.02,
        "init_std": 0.1,
    }
    assert report.counts == {
        "rows": 940,
        "positives": 640,
        "users": 100,
        "videos": 30,
        "catalogue": 31,
        "profiles": 0,
        "train_rows": 752,
        "validation_rows": 151,
        "test_rows": 188,
        "straddling_rows": 0,
        "met_pairs": 940,
    }
    written = json.loads((tmp_path / "m" / "report.json").read_text())
    assert (written["counts"], written["curves"]) == (report.counts, report.curves)
    info = load(tmp_path / "m" / "holdout").info
    assert (info["rows"], info["cut_ms"], info["newest_ms"] < info["cut_ms"]) == (752, report.cut_ms, True)
    assert load(tmp_path / "m" / "full").info["rows"] == 940


def test_torch_weights_are_kept_beside_the_two_tower_model(trained: dict[str, Path]) -> None:
    with np.load(trained["two-tower"] / "full" / "weights.npz", allow_pickle=False) as weights:
        assert weights["users.weight"].shape == (101, 64)
    assert not (trained["svd"] / "full" / "weights.npz").exists()


def test_a_training_that_fails_leaves_the_old_models(training_set: Path, tmp_path: Path) -> None:
    train("svd", training_set, tmp_path / "m", config={"svd": {"n_epochs": 1}})
    before = (tmp_path / "m" / "report.json").read_bytes()
    with pytest.raises(DivergedError):
        train("svd", training_set, tmp_path / "m", config={"svd": {"learning_rate": 500.0}})
    assert (tmp_path / "m" / "report.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_kind_nobody_knows_is_named(training_set: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownKindError, match="kind 'magic': must be one of svd, als, item-item"):
        train("magic", training_set, tmp_path / "m")


def test_a_hybrid_needs_its_parts_by_name_and_of_the_same_cut(
    training_set: Path, trained: dict[str, Path], tmp_path: Path
) -> None:
    parts = {kind: trained[kind] for kind in PARTS}
    with pytest.raises(MissingPartError, match="needs a trained als"):
        train("hybrid", training_set, tmp_path / "m", parts={k: v for k, v in parts.items() if k != "als"})
    other = train_all(["als"], training_set, tmp_path / "other")
    train("als", training_set, other["als"], config={"test_fraction": 0.3})
    with pytest.raises(MissingPartError, match="the als model was trained with another cut"):
        train("hybrid", training_set, tmp_path / "m", parts={**parts, **other})
    assert not (tmp_path / "m").exists()


def test_a_wrong_setting_is_named_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"svd\.n_factors"):
        train("svd", tmp_path / "nowhere", tmp_path / "m", config={"svd": {"n_factors": 0}})


def test_the_better_kind_is_named_with_its_evidence(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    judgement = judge(trained, training_set, tmp_path / "j")
    scores = {kind: metrics["ndcg_at_10"].value for kind, metrics in judgement.metrics.items()}
    contenders = sorted((k for k in KINDS if k != "popularity"), key=lambda kind: (-scores[kind], kind))
    assert [judgement.better, judgement.runner_up] == contenders[:2]
    assert judgement.difference is not None
    lead = scores[contenders[0]] - scores[contenders[1]]
    assert judgement.difference.value == pytest.approx(lead)
    assert judgement.difference.low <= judgement.difference.value <= judgement.difference.high
    beyond_all_pairs = judgement.pair(*contenders[:2]).p_adjusted < 0.05
    assert judgement.distinguishable == (judgement.difference.low > 0 and beyond_all_pairs)
    for kind in ("svd", "two-tower"):
        lead = judgement.over_popularity[kind].value
        assert lead == pytest.approx(scores[kind] - scores["popularity"])
    assert set(judgement.ratings) == {"svd"}
    assert judgement.ratings["svd"]["rmse"].value < judgement.ratings["svd"]["rmse_of_mean"].value


def test_slices_add_up_and_strangers_are_counted_apart(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    judgement = judge(trained, training_set, tmp_path / "j")
    known, new = judgement.slices["known_users"], judgement.slices["new_users"]
    assert (known["users"] + new["users"], new["users"]) == (judgement.users, judgement.new_users)
    assert judgement.new_users == 40  # the strangers of the last minutes
    for kind, metrics in judgement.metrics.items():
        parts = [part["metrics"][kind]["ndcg_at_10"].value * part["users"] for part in (known, new)]
        assert sum(parts) / judgement.users == pytest.approx(metrics["ndcg_at_10"].value)


def test_judging_again_writes_the_same_bytes_and_a_picture(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        judge(trained, training_set, tmp_path / name)
    for file in ("judgement.json", "judgement.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert (tmp_path / "one" / "judgement.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((tmp_path / "one" / "judgement.json").read_text())
    assert written["primary_metric"] == "ndcg_at_10"
    assert set(written["metrics"]["svd"]["ndcg_at_10"]) == {"value", "low", "high"}


def test_popularity_is_the_baseline_unless_it_is_alone(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    alone = judge({"popularity": trained["popularity"]}, training_set, tmp_path / "alone")
    assert (alone.better, alone.runner_up, alone.difference) == ("popularity", None, None)
    assert not alone.distinguishable
    pair = judge({kind: trained[kind] for kind in ("svd", "popularity")}, training_set, tmp_path / "pair")
    assert (pair.better, pair.runner_up, set(pair.over_popularity)) == ("svd", None, {"svd"})


def test_strangers_are_judged_by_the_list_they_are_served(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    served = judge(trained, training_set, tmp_path / "served")
    assert served.strangers_ranked_by == "popularity"
    new = served.slices["new_users"]["metrics"]
    assert new["svd"] == new["two-tower"] == new["popularity"]
    alone = judge({"svd": trained["svd"]}, training_set, tmp_path / "alone")
    assert alone.strangers_ranked_by == "biases"


def test_what_was_scrolled_past_before_the_cut_is_neither_candidate_nor_test(tmp_path: Path) -> None:
    """The pair's skim is no training row (its ratio is too low), but the feed would leave the video out."""
    rows = interactions(
        [(f"u{i}", "hit", i / 10, 1.0) for i in range(8)] + [("ann", "hit", 2, 1.0), ("bob", "hit", 2.5, 1.0)]
    )
    for name, scrolled, users in (("none", [], 2), ("ann", [("ann", "hit", 0.5)], 1)):
        folder = write_folder(tmp_path / name, rows, catalogue(["hit", "other"]), met(rows, scrolled))
        train("popularity", folder, tmp_path / name / "model")
        assert judge({"popularity": tmp_path / name / "model"}, folder, tmp_path / name / "j").users == users


def test_models_of_another_training_set_are_not_compared(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    def touch(rows: Interactions) -> None:
        rows.ratings[-1] = 0.5

    other = doctored(training_set, tmp_path / "set", touch)
    with pytest.raises(MismatchedHoldoutError, match="another training set"):
        judge(trained, other, tmp_path / "j")


def test_models_of_different_cuts_are_not_compared(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    train("svd", training_set, tmp_path / "svd", config={"test_fraction": 0.5, "svd": {"n_epochs": 1}})
    with pytest.raises(MismatchedHoldoutError, match="cut at different times"):
        judge({**trained, "svd": tmp_path / "svd"}, training_set, tmp_path / "j")


def test_a_folder_of_another_kind_is_not_taken(
    trained: dict[str, Path], training_set: Path, tmp_path: Path
) -> None:
    with pytest.raises(MismatchedHoldoutError, match="given for svd holds a popularity model"):
        judge({"svd": trained["popularity"]}, training_set, tmp_path / "j")
