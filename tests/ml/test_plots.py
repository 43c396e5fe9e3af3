"""Pictures are drawn whatever a judgement holds, say what they show, and change nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.comparison import compare_all
from ml.judgement import TESTED, Judgement
from ml.metrics import Interval
from ml.plots import PICTURES, colour, label, p_said, ranked
from ml.recommender import KINDS
from ml.report import verdict, write_report

METRICS = ("ndcg", "precision", "recall", "map", "mrr", "hit_rate")


def judgement(kinds: tuple[str, ...] = KINDS) -> Judgement:
    rng = np.random.default_rng(0)
    values = {kind: rng.random(50) * (0.5 + 0.05 * place) for place, kind in enumerate(kinds)}

    def spread(centre: float) -> Interval:
        return Interval(centre, centre - 0.01, centre + 0.01)

    metrics = {
        kind: {f"{name}_at_{k}": spread(float(column.mean())) for name in METRICS for k in (10, 20)}
        for kind, column in values.items()
    }
    part = {"about": "some", "of": "users", "users": 12, "metrics": metrics}
    ordered = sorted(kinds, key=lambda kind: -values[kind].mean())
    return Judgement(
        primary_metric="ndcg_at_10",
        better=ordered[0],
        runner_up=ordered[1] if len(kinds) > 1 else None,
        difference=spread(0.02) if len(kinds) > 1 else None,
        over_popularity={},
        pairs=compare_all(values, seed=0),
        tested=TESTED,
        metrics=metrics,
        ceilings={"precision_at_10": 0.2},
        coverage={kind: {"coverage_at_10": 0.1, "coverage_at_20": 0.2, "gini_at_10": 0.9} for kind in kinds},
        lists={kind: {"novelty_at_10": spread(5.0)} for kind in kinds},
        ratings={},
        slices={
            "new_users": part | {"over_popularity": {}, "detectable": {}},
            "nobody_here": {"about": "none", "of": "users", "users": 0, "metrics": {}},
        },
        users=50,
        new_users=0,
        test_rows=70,
        straddling_rows=0,
        strangers_ranked_by="biases",
        catalogue=30,
        cut_ms=1_650_000_000_000,
        training_set_sha256="0" * 64,
        seed=0,
    )


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("kinds", [KINDS, KINDS[:2], ("svd",), ("made-up", "svd")])
def test_a_picture_is_drawn_of_any_number_of_kinds(name: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    PICTURES[name](judgement(kinds), tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 400
        assert len(picture.convert("RGB").getcolors(1_000_000)) > 10  # not blank


def test_a_judgement_without_anybody_in_any_slice_can_be_drawn(tmp_path: Path) -> None:
    empty = {name: part for name, part in judgement().slices.items() if not part["users"]}
    path = write_report(replace(judgement(), slices=empty), tmp_path)
    assert "nobody" in path.read_text("utf-8")


def test_one_model_alone_has_a_page(tmp_path: Path) -> None:
    page = write_report(judgement(("popularity",)), tmp_path).read_text("utf-8")
    assert "One model alone: nothing to compare." in page


def test_names_are_written_as_people_write_them() -> None:
    assert [label(name) for name in ("ndcg_at_10", "hit_rate_at_20", "map_at_10", "rmse")] == [
        "NDCG@10",
        "Hit rate@20",
        "MAP@10",
        "Rmse",
    ]


def test_each_kind_has_its_own_colour_everywhere() -> None:
    assert len({colour(kind) for kind in KINDS}) == len(KINDS)


def test_the_best_kind_comes_first() -> None:
    found = judgement()
    values = [found.metrics[kind]["ndcg_at_10"].value for kind in ranked(found)]
    assert values == sorted(values, reverse=True)


def test_a_p_value_at_its_floor_is_said_to_be_at_most_that() -> None:
    sure, unsure = (
        compare_all({"a": np.ones(99), "b": np.zeros(99)}, 0),
        compare_all({"a": np.asarray([1.0, 0, 1]), "b": np.asarray([0.0, 1, 0])}, 0),
    )
    assert p_said(sure[0]) == "p ≤ 0.0001"
    assert p_said(unsure[0]) == "p = 1.0000"


def test_a_verdict_names_the_lead_and_what_could_have_been_seen() -> None:
    found = judgement(("svd", "als"))
    assert "within noise" in verdict(replace(found, difference=Interval(0.02, -0.01, 0.05)))
    assert "would be found four times out of five" in verdict(found)
    assert verdict(judgement(("svd",))).endswith("].")
