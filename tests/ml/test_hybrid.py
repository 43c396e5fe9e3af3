"""The hybrid: weights that are learned from what users did later, on planted choices whose reason is known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import hybrid
from ml.blend import BlendModel
from ml.blend_examples import BlendExamples, Terms
from ml.blend_weights import learned_weights
from ml.collaborative_config import HybridConfig
from ml.config import TrainConfig
from ml.dataset import Interactions, Known, Watched
from ml.factors import FactorModel
from ml.fit import fit
from ml.recommender import Recommender
from ml.saved import load
from ml.split import time_split
from tests.ml.planted import START_MS, interactions, known, met, tastes

CONFIG = HybridConfig(parts=("right", "wrong"), half_lives_days=(1.0,), candidates=10)
USERS = [f"user-{user:02d}" for user in range(40)]
VIDEOS = [f"video-{video:02d}" for video in range(20)]
LATER_H = 10.0


def table(kind: str, scores: np.ndarray) -> FactorModel:
    """A model that says exactly these scores, (users, videos), and nothing of strangers."""
    return FactorModel(
        kind=kind,
        user_ids=np.asarray(USERS),
        video_ids=np.asarray(VIDEOS),
        user_factors=scores.astype(np.float32),
        video_factors=np.eye(len(VIDEOS), dtype=np.float32),
        user_bias=np.zeros(len(USERS), dtype=np.float32),
        video_bias=np.zeros(len(VIDEOS), dtype=np.float32),
    )


def before() -> Known:
    """Everybody has watched video 0 and 1, so that nothing else tells users or videos apart."""
    return known(interactions([(user, VIDEOS[v], v, 1.0) for v in (0, 1) for user in USERS]), VIDEOS)


def liked_later(choices: Sequence[int]) -> Interactions:
    return interactions(
        [(u, VIDEOS[v], LATER_H + i, 1.0) for i, (u, v) in enumerate(zip(USERS, choices, strict=True))]
    )


def planted(seed: int = 0) -> tuple[dict[str, Recommender], Interactions]:
    """Users later like one of the three videos that `right` puts first; `wrong` is noise."""
    rng = np.random.default_rng(seed)
    right, wrong = rng.normal(size=(2, len(USERS), len(VIDEOS)))
    right[:, :2] = -5
    best = np.argsort(-right, axis=1)[np.arange(len(USERS)), rng.integers(0, 3, len(USERS))]
    return {"right": table("right", right), "wrong": table("wrong", wrong)}, liked_later(best.tolist())


def learn(
    parts: dict[str, Recommender],
    later: Interactions,
    config: HybridConfig = CONFIG,
    watched: Watched | None = None,
) -> dict:
    return hybrid.learn(parts, before(), later, watched or Watched.nothing(), config)


def test_the_part_that_foretells_gets_the_weight() -> None:
    learned = learn(*planted())
    assert learned["users"] == 40
    assert learned["weights"]["right"] > 5 * learned["weights"]["wrong"] >= 0
    assert learned["weights"]["right"] > 1


def test_a_part_that_is_worse_than_chance_is_left_out_and_not_turned_around() -> None:
    """`wrong` puts last whatever `right` puts first, where the choices are."""
    parts, later = planted()
    right = parts["right"]
    assert isinstance(right, FactorModel)
    scores = np.random.default_rng(1).normal(size=right.user_factors.shape)
    np.put_along_axis(scores, np.argsort(-right.user_factors, axis=1)[:, :3], -5, axis=1)
    assert learn({"right": right, "wrong": table("wrong", scores)}, later)["weights"]["wrong"] == 0


def test_learning_twice_gives_the_same_weights() -> None:
    assert learn(*planted()) == learn(*planted())


def test_nothing_liked_later_leaves_the_weights_at_the_prior() -> None:
    parts, _ = planted()
    learned = learn(parts, interactions([]))
    prior = {"right": 0.5, "wrong": 0.5, "met_1d": 0.5, "met_ever": 0, "liked": 0}
    assert learned == {"weights": prior, "stranger_weights": prior, "users": 0}


def test_what_was_met_before_teaches_nothing() -> None:
    parts, _ = planted()
    assert learn(parts, liked_later([0] * len(USERS)))["users"] == 0


def test_meetings_after_the_parts_were_fitted_are_not_looked_at() -> None:
    parts, later = planted()
    assert learn(parts, later, watched=met(later)) == learn(parts, later)


def test_rows_from_before_the_parts_were_fitted_teach_nothing() -> None:
    parts, later = planted()
    early = Interactions(**{**vars(later), "started_at_ms": np.full(len(later), START_MS)})
    assert learn(parts, early)["users"] == 0


def test_at_most_so_many_users_are_asked() -> None:
    learned = learn(*planted(), CONFIG.model_copy(update={"max_users": 15}))
    assert learned["users"] == 15


def test_strangers_are_served_what_is_met_these_days() -> None:
    """Later everybody likes video 2, which all others met an hour ago: it is recent, not a matter of taste."""
    parts, _ = planted()
    crowd = [(f"other-{i}", VIDEOS[2], 1.5, 1.0) for i in range(30)]
    rows = interactions([*((user, VIDEOS[v], v, 1.0) for v in (0, 1) for user in USERS), *crowd])
    learned = hybrid.learn(
        parts, known(rows, VIDEOS), liked_later([2] * len(USERS)), Watched.nothing(), CONFIG
    )
    model = hybrid.assemble(parts, learned, known(rows, VIDEOS), CONFIG)
    assert model.recommend(["stranger"], 1, {"stranger": {VIDEOS[0], VIDEOS[1]}})[0][0][0] == VIDEOS[2]
    assert not model.knows("stranger")
    assert model.knows(USERS[0])
    assert model.knows("other-3")


def test_a_blend_of_real_parts_finds_tastes_and_is_saved(tmp_path: Path) -> None:
    rows = tastes()
    parts = {"hybrid": {"parts": ("als", "item-item", "content")}}
    config = TrainConfig.of({**parts, "als": {"n_factors": 4}, "item_item": {"regularisation": 5}})
    split = time_split(rows, 0.3)
    inner = Known.of(split.train, known(rows).catalogue, watched=met(rows), as_of_ms=split.cut_ms)
    kinds = config.hybrid.parts
    learned = hybrid.learn(
        {kind: fit(kind, inner, config).model for kind in kinds}, inner, split.test, met(rows), config.hybrid
    )
    now = known(rows, watched=met(rows))
    model = hybrid.assemble(
        {kind: fit(kind, now, config).model for kind in kinds}, learned, now, config.hybrid
    )
    fans = [user for user in model.user_ids.tolist() if "fan" in user]
    seen = {user: set(rows.video_ids[rows.user_ids == user].tolist()) for user in fans}
    lists = model.recommend(fans, 4, seen)
    right = [video[0] == user[0] for user, ranked in zip(fans, lists, strict=True) for video, _ in ranked]
    assert np.mean(right) > 0.95
    assert model.content == "content"
    assert "content_of_new" in learned["weights"]
    model.save(tmp_path / "hybrid")
    read = load(tmp_path / "hybrid")
    assert isinstance(read, BlendModel)
    assert read.recommend(fans, 4, seen) == lists
    assert read.info["learned"] == learned


TERMS = Terms(("part",), "", ("signal",))


def examples(values: np.ndarray, chosen: np.ndarray, t: float = 1.0) -> BlendExamples:
    n, k = chosen.shape
    return BlendExamples(
        values.astype(np.float32),
        chosen,
        np.zeros((n, k), dtype=np.float32),
        np.full(n, t, dtype=np.float32),
        TERMS,
        n,
    )


def test_the_weight_is_the_log_odds_of_the_choices() -> None:
    """Two candidates that differ by 1 in the part: chosen by 3 of 4, so exp(w) = 3; nothing is known of strangers."""
    values = np.zeros((4, 2, 2))
    values[:, 0, 0] = 1
    chosen = np.asarray([[True, False]] * 3 + [[False, True]])
    of_known, of_strangers = learned_weights(examples(values, chosen), np.zeros(2), 1e-9)
    assert of_known.tolist() == pytest.approx([np.log(3), 0], abs=1e-3)
    assert of_strangers.tolist() == pytest.approx([0, 0], abs=1e-6)
    of_known, of_strangers = learned_weights(examples(values, chosen, t=0.0), np.zeros(2), 1e-9)
    assert of_strangers.tolist() == pytest.approx([np.log(3), 0], abs=1e-3)


def test_a_candidate_that_stands_for_others_counts_as_many() -> None:
    """The one not chosen stands for 5: half of the choices are it, so 1 : 5 exp(-w), w = log 5."""
    values = np.zeros((2, 2, 2))
    values[:, 0, 0] = 1
    given_ = examples(values, np.asarray([[True, False], [False, True]]))
    given_.log_counts[:, 1] = np.log(5)
    assert learned_weights(given_, np.zeros(2), 1e-9)[0][0] == pytest.approx(np.log(5), abs=1e-3)


def test_a_signal_may_count_against() -> None:
    values = np.zeros((4, 2, 2))
    values[:, 0, 1] = 1
    chosen = np.asarray([[True, False]] + [[False, True]] * 3)
    assert learned_weights(examples(values, chosen), np.zeros(2), 1e-9)[0].tolist() == pytest.approx(
        [0, -np.log(3)], abs=1e-3
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 100))
def test_weights_are_finite_and_those_of_parts_not_negative(seed: int, regularisation: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(6, 4, 2)) * 10 ** rng.uniform(-3, 3)
    chosen = np.eye(4, dtype=bool)[rng.integers(0, 4, 6)]
    for weights in learned_weights(examples(values, chosen, t=0.5), np.zeros(2), regularisation):
        assert np.isfinite(weights).all()
        assert weights[0] >= 0
