"""Who proposes what: the first model that answers, what others add, trending for the rest."""

import numpy as np
import pytest

from serving.pipeline import candidates, retrieval
from serving.pipeline.candidates import Asked, Trending, gather
from serving.pipeline.retrieval import query_of
from serving.pipeline.space import Space

from .made import catalogue_of, model_of, names

VIDEOS = names(8)
NONE = np.empty(0, np.int64)
TRENDING = Trending(np.array([7, 6, 5, 4, 3, 2, 1, 0]), np.arange(8, dtype=np.float32))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Three candidates are enough, others add two."""
    monkeypatch.setattr(candidates, "CANDIDATES", 3)
    monkeypatch.setattr(candidates, "FROM_OTHERS", 2)
    monkeypatch.setattr(candidates, "FROM_TRENDING", 2)
    search = retrieval.search
    monkeypatch.setattr(retrieval, "search", lambda query, k=3: search(query, k))


def query(kind, met=NONE, keep=VIDEOS, sign=1.0):
    """ann's scores by the kind: the higher the number, the better, or the other way round."""
    model = model_of(kind, {"ann": (sign,)}, {v: (float(VIDEOS.index(v)) + 1,) for v in keep})
    return query_of(Space.of(kind, model, catalogue_of(VIDEOS)), "ann", met, [])


def test_the_first_model_that_answers_is_all_there_is():
    found = gather(Asked([query("two-tower"), query("svd")], NONE), TRENDING)
    assert (found.kind, found.source, found.degraded) == ("two-tower", "personal", ())
    assert (found.rows.tolist(), found.scores.tolist()) == ([7, 6, 5], [8, 7, 6])
    assert (found.sources, found.origins.tolist()) == (("two-tower",), [0, 0, 0])


def test_without_a_model_trending_answers_with_what_was_not_met():
    found = gather(Asked([], np.array([7, 5, 7]), degraded=("why",)), TRENDING)
    assert (found.kind, found.source, found.degraded) == ("popularity", "trending", ("why",))
    assert (found.rows.tolist(), found.scores.tolist()) == ([6, 4, 3], [6, 4, 3])


def test_others_add_what_is_new_and_say_nothing_of_the_models_score():
    asked = Asked([query("two-tower")], NONE, {"svd": query("svd", sign=-1.0)}, trending=True)
    found = gather(asked, TRENDING)
    assert found.sources == ("two-tower", "svd", "trending")
    assert found.rows.tolist() == [7, 6, 5, 0, 1]  # trending's two are there already
    assert found.origins.tolist() == [0, 0, 0, 1, 1]
    assert found.scores.tolist() == [8, 7, 6, 6, 6]


def test_trending_fills_up_what_is_short():
    found = gather(Asked([query("svd", keep=VIDEOS[:2])], np.array([7])), TRENDING)
    assert (found.rows.tolist(), found.origins.tolist()) == ([1, 0, 6, 5, 4], [0, 0, 1, 1, 1])
    assert found.scores.tolist() == [2, 1, 1, 1, 1]


def test_everything_met_is_nothing_found():
    everything = np.arange(8)
    asked = Asked(
        [query("svd", everything)], everything, {"content": query("content", everything)}, trending=True
    )
    assert gather(asked, TRENDING).rows.tolist() == []
    assert gather(Asked([], everything), TRENDING).rows.tolist() == []


@pytest.mark.parametrize(
    ("met", "k"), [([], 3), ([7], 3), ([7, 6, 5, 4, 3, 2], 3), ([0, 0, 1], 8), (range(8), 5)]
)
def test_trending_is_the_first_k_that_were_not_met(met, k):
    rows = np.array(list(met), np.int64)
    expected = [row for row in TRENDING.order.tolist() if row not in set(met)][:k]
    assert TRENDING.best(rows, k).tolist() == expected
