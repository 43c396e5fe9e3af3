"""One score out of many: shares are exactly what was asked for, whatever the scores' units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.pipeline.blend import blend, scaled, with_session


def f32(*values):
    return np.array(values, np.float32)


def scores(n):
    return arrays(np.float32, n, elements=st.floats(-1e6, 1e6, width=32))


def test_scaled_is_0_for_the_lowest_and_1_for_the_highest():
    np.testing.assert_allclose(scaled(f32(3, -1, 1)), [1, 0, 0.5], atol=1e-6)


@pytest.mark.parametrize("values", [[], [7], [2, 2, 2], [-1e30, -1e30]])
def test_one_score_or_equal_ones_say_nothing(values):
    assert scaled(f32(*values)).tolist() == [0] * len(values)


def test_scores_that_are_no_candidates_scores_are_not_expected_and_huge_ones_survive():
    np.testing.assert_allclose(scaled(f32(-1e38, 0, 1e38)), [0, 0.5, 1], atol=1e-6)


def test_the_model_takes_the_weight_the_others_leave():
    parts = blend(f32(0, 10), {"svd": (0.2, f32(5, 3)), "trending": (0.3, f32(1, 2))})
    assert list(parts) == ["model", "svd", "trending"]
    np.testing.assert_allclose(parts["model"], [0, 0.5], atol=1e-6)
    np.testing.assert_allclose(parts["svd"], [0.2, 0], atol=1e-6)
    np.testing.assert_allclose(parts["trending"], [0, 0.3], atol=1e-6)


def test_alone_the_model_is_all_of_it():
    assert blend(f32(4, 2), {})["model"].tolist() == [1, 0]


def test_weights_over_1_are_shares_of_1_and_leave_the_model_nothing():
    parts = blend(f32(0, 1), {"svd": (1.0, f32(0, 1)), "trending": (0.6, f32(1, 0))})
    np.testing.assert_allclose(parts["model"], [0, 0])
    np.testing.assert_allclose(parts["svd"], [0, 1 / 1.6], atol=1e-6)
    np.testing.assert_allclose(parts["trending"], [0.6 / 1.6, 0], atol=1e-6)


def test_the_session_has_exactly_the_contracts_share():
    parts = with_session(blend(f32(0, 1), {"svd": (0.5, f32(0, 1))}), f32(-0.2, 0.9), 0.3)
    np.testing.assert_allclose(parts["model"] + parts["svd"], [0, 0.7], atol=1e-6)
    np.testing.assert_allclose(parts["session"], [0, 0.3], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 20).flatmap(lambda n: st.tuples(scores(n), scores(n), scores(n), scores(n))),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_blend_lies_between_0_and_1_and_keeps_the_models_order(four, one, two, share):
    model, svd, trending, short = four
    parts = blend(model, {"svd": (one, svd), "trending": (two, trending)})
    for together in (parts, with_session(parts, short, share)):
        total = sum(together.values())
        assert np.isfinite(total).all()
        assert total.min() >= 0
        assert total.max() <= 1 + 1e-5
    order = np.argsort(model, kind="stable")
    assert (np.diff(parts["model"][order]) >= 0).all()
