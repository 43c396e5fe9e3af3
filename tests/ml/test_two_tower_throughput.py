"""The benchmark of the two-tower's loop, on sizes that take a second."""

import numpy as np
import pytest

from ml.bench.two_tower_throughput import generated, large, loops


def test_the_generated_rows_have_every_user_and_video_in_the_order_of_their_starts() -> None:
    known = generated(users=30, videos=20, rows_per_user=3)
    rows = known.interactions
    assert len(rows) == 90
    assert len(np.unique(rows.user_ids)) == 30
    assert len(np.unique(rows.video_ids)) == len(known.catalogue) == 20
    assert (np.diff(rows.started_at_ms) >= 0).all()


@pytest.mark.parametrize("videos", [50, 20_000], ids=["whole catalogue", "sampled"])
def test_both_loops_are_measured_on_the_same_shapes(videos: int) -> None:
    figures = loops(users=60, videos=videos, rows_per_user=5)
    assert figures["targets_per_second"] > figures["moments_per_second"] > 0
    assert figures["ratio"] > 0
    assert 0 < figures["loading_share"] < 1


def test_a_large_training_is_measured_from_its_rows_to_its_model() -> None:
    figures = large(users=60, videos=50, rows_per_user=5)
    assert (figures["users"], figures["videos"], figures["rows"]) == (60, 50, 300)
    assert figures["peak_bytes"] >= figures["rows_bytes"] > 0
    assert figures["steps_per_second"] > 0
