"""What the bench says of the feed's steps: of known lists the known figures."""

import numpy as np
import pytest

from ml.evaluate import TestUsers
from ml.ids import lookup
from serving.bench.quality import DEEP, PLAIN, SHOWN, VARIANTS, Lists, _against_plain, judged, made
from serving.pipeline.config import PipelineConfig
from tests.serving.pipeline.made import names, pipeline_of, world

USERS = 40


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_of(world(900, USERS, seed=5, kinds=("two-tower",)))


def liking(wanted: dict[str, list[str]]) -> TestUsers:
    """Test users who like the videos named and had met none."""
    videos = np.array(sorted({video for some in wanted.values() for video in some}))
    pairs = [(i, video) for i, some in enumerate(wanted.values()) for video in some]
    rows = np.array([i for i, _ in pairs]), lookup(videos, np.array([video for _, video in pairs]))
    nobody = np.empty(0, np.int64), np.empty(0, np.int64)
    return TestUsers(np.array(list(wanted)), videos, rows, nobody, np.zeros(len(wanted), np.bool_))


def best(pipeline, user_id: str, places: slice) -> list[str]:
    """Straight from the model: its order without what the user met."""
    bundle = pipeline.bundle
    model = bundle.models["two-tower"]
    scores = model.scores([user_id])[0]
    scores[bundle.watched.of(user_id)] = -np.inf
    return [str(model.video_ids[row]) for row in np.argsort(-scores)[places]]


def test_plain_is_the_models_own_order_and_worth_what_it_is(pipeline):
    first = liking({user: best(pipeline, user, slice(0, 1)) for user in names(USERS, "u")})
    third = liking({user: best(pipeline, user, slice(2, 3)) for user in names(USERS, "u")})
    plain = made(pipeline, first)[PLAIN]
    assert (judged(plain, pipeline, first)["ndcg_at_10"] == 1).all()
    assert judged(plain, pipeline, third)["ndcg_at_10"] == pytest.approx(np.full(USERS, 1 / np.log2(4)))


def test_every_step_shows_in_its_own_variant_only(pipeline):
    users = liking({user: best(pipeline, user, slice(0, 1)) for user in names(USERS, "u")})
    lists = made(pipeline, users)
    plain, catalogue = lists[PLAIN], pipeline.bundle.catalogue
    assert VARIANTS["served"] == PipelineConfig()
    assert lists["diversity"].distinct(catalogue.categories) > plain.distinct(catalogue.categories)
    changed = lists["exploration"].rows != plain.rows
    exploring = np.arange(DEEP) % 5 == 4
    assert changed[:, exploring].any()
    assert not changed[:, ~exploring].any()
    new = np.bincount(pipeline.bundle.watched.rows, minlength=900) <= 20
    assert lists["exploration"].share(new) >= plain.share(new)


def test_the_difference_is_paired_and_none_from_itself():
    values = np.random.default_rng(0).random(200)
    worse = {PLAIN: {"ndcg_at_10": values}, "other": {"ndcg_at_10": values - 0.01}}
    found = _against_plain(worse)
    assert found[PLAIN]["difference"].as_dict() == {"value": 0, "low": 0, "high": 0}
    assert found["other"]["difference"].low == pytest.approx(-0.01)  # exactly so for each: no noise is left
    assert found["other"]["difference"].high == pytest.approx(-0.01)


def test_a_list_that_ends_early_counts_what_it_has():
    rows = np.full((2, DEEP), -1)
    rows[0, :SHOWN] = range(SHOWN)
    rows[1, :2] = (0, 1)
    lists = Lists(rows)
    assert lists.distinct(np.array([7, 7, 8, 8, 8, 8, 8, 8, 8, 9], np.int32)) == (3 + 1) / 2
    assert lists.share(np.array([True] + [False] * 9)) == 2 / 12
