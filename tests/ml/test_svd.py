"""SVD against the one-by-one loop it stands for, and against Surprise."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.config import SVDConfig
from ml.dataset import Catalogue, Encoded, Interactions, Known
from ml.factors import FactorModel
from ml.svd import fit, predict_ratings, starting_rows
from ml.svd_kernel import epoch
from tests.ml.planted import interactions, taste_videos, tastes


def known(rows: Interactions | None = None) -> Known:
    return Known.of(tastes() if rows is None else rows, Catalogue.of(taste_videos()))


def one_by_one(data: Encoded, config: SVDConfig, seed: int) -> dict[str, np.ndarray]:
    """The update as Koren et al. write it, in float64, from the same random start."""
    d = config.n_factors
    P, Q = starting_rows(data, config, seed)
    p, q = P[:, :d].astype(np.float64), Q[:, :d].astype(np.float64)
    bu, bi = np.zeros(len(p)), np.zeros(len(q))
    ratings = data.interactions.ratings
    mean = ratings.mean(dtype=np.float64)
    rate, reg = config.learning_rate, config.regularisation
    for _ in range(config.n_epochs):
        for u, v, rating in zip(data.users, data.videos, ratings, strict=True):
            error = rating - (mean + bu[u] + bi[v] + q[v] @ p[u])
            bu[u] += rate * (error - reg * bu[u])
            bi[v] += rate * (error - reg * bi[v])
            p[u], q[v] = p[u] + rate * (error * q[v] - reg * p[u]), q[v] + rate * (error * p[u] - reg * q[v])
    return {"user_factors": p, "video_factors": q, "user_bias": bu, "video_bias": bi}


@pytest.mark.parametrize("n_factors", [1, 5, 14, 15, 100])  # rows of one cache line, of exactly one, of more
def test_equals_the_sequential_loop(n_factors: int) -> None:
    config = SVDConfig(n_factors=n_factors, n_epochs=10, learning_rate=0.02, regularisation=0.1)
    model = fit(known(), config, seed=4).model
    data = Encoded.of(tastes(), known().catalogue)
    for name, expected in one_by_one(data, config, seed=4).items():
        np.testing.assert_allclose(getattr(model, name), expected, atol=2e-5)


def test_the_compiled_loop_equals_the_same_code_run_by_python() -> None:
    config = SVDConfig(n_factors=3)
    data = Encoded.of(tastes(), known().catalogue)
    rows = starting_rows(data, config, 0)
    compiled, plain = [array.copy() for array in rows], [array.copy() for array in rows]
    rest = (
        data.users,
        data.videos,
        data.interactions.ratings - np.float32(3),
        np.float32(0.1),
        np.float32(0.2),
        3,
    )
    loop = getattr(epoch, "py_func", epoch)
    assert epoch(*compiled, *rest) == pytest.approx(loop(*plain, *rest), rel=1e-5)
    for ours, theirs in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    P, Q = compiled
    assert (P[:, 4] == 1).all()
    assert (Q[:, 3] == 1).all()
    assert not P[:, 5:].any()
    assert not Q[:, 5:].any()


def test_equals_surprise_in_surprise_s_order_from_surprise_s_start() -> None:
    surprise = pytest.importorskip("surprise")
    rows = tastes()
    by_user = np.argsort(rows.user_ids, kind="stable")  # Surprise visits user by user
    rows = rows.take(by_user)
    triples = zip(rows.user_ids.tolist(), rows.video_ids.tolist(), map(float, rows.ratings), strict=True)
    reader = surprise.Reader(rating_scale=(0, 5))
    folds = surprise.dataset.DatasetAutoFolds(reader=reader, df=_Triples(list(triples)))
    trainset = folds.build_full_trainset()
    peer = surprise.SVD(n_factors=7, n_epochs=6, random_state=3).fit(trainset)

    rng = np.random.RandomState(3)
    P = np.zeros((trainset.n_users, 16), dtype=np.float32)
    Q = np.zeros((trainset.n_items, 16), dtype=np.float32)
    P[:, :7], Q[:, :7] = rng.normal(0, 0.1, (len(P), 7)), rng.normal(0, 0.1, (len(Q), 7))
    P[:, 8] = Q[:, 7] = 1
    visited = np.asarray(list(trainset.all_ratings()))
    users, videos = visited[:, 0].astype(np.int64), visited[:, 1].astype(np.int64)
    targets = (visited[:, 2] - trainset.global_mean).astype(np.float32)
    for _ in range(6):
        epoch(P, Q, users, videos, targets, np.float32(0.005), np.float32(0.02), 7)
    for ours, theirs in ((P[:, :7], peer.pu), (Q[:, :7], peer.qi), (P[:, 7], peer.bu), (Q[:, 8], peer.bi)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_starts_where_surprise_starts_with_the_same_seed() -> None:
    config = SVDConfig(n_factors=3)
    data = Encoded.of(tastes(), Catalogue.of([]))
    P, Q = starting_rows(data, config, seed=5)
    rng = np.random.RandomState(5)
    for ours in (P, Q):
        np.testing.assert_array_equal(ours[:, :3], rng.normal(0, 0.1, (len(ours), 3)).astype(np.float32))


def test_drawing_in_portions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Encoded.of(tastes(), known().catalogue)
    whole = starting_rows(data, SVDConfig(n_factors=3), 1)
    monkeypatch.setattr("ml.svd.DRAWN_AT_ONCE", 7)
    for ours, expected in zip(starting_rows(data, SVDConfig(n_factors=3), 1), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_any_seed_will_do() -> None:
    assert fit(known(), SVDConfig(n_epochs=1), seed=2**40).curve


class _Triples(list):
    """What Surprise reads of a data frame."""

    def itertuples(self, index: bool) -> list:
        return self


def test_the_order_of_time_is_part_of_the_result() -> None:
    backwards = tastes().take(np.arange(len(tastes()))[::-1])
    config = SVDConfig(n_factors=4)
    assert fit(known(), config).curve != fit(known(backwards), config).curve


def test_the_loss_falls_every_epoch_and_starts_near_the_spread_of_the_ratings() -> None:
    curve = fit(known(), SVDConfig()).curve
    assert len(curve) == 20
    assert (np.diff(curve) < 0).all()
    assert curve[0] == pytest.approx(float(tastes().ratings.std()), abs=0.25)


def test_the_first_loss_is_the_rmse_before_each_update() -> None:
    rows = interactions([("u", "v", 0, 1.0), ("u", "v", 1, 0.2)])  # ratings 5 and 1 of mean 3
    curve = fit(Known.of(rows, Catalogue.of([])), SVDConfig(init_std=0, n_epochs=1, learning_rate=0.1)).curve
    # Errors: 2, then both biases stand at 0.1 * 2: -2 - 0.4.
    assert curve == [pytest.approx(np.sqrt((2**2 + 2.4**2) / 2))]


def test_the_defaults_are_the_contract_s() -> None:
    config = SVDConfig()
    contract = (config.n_factors, config.n_epochs, config.learning_rate, config.regularisation)
    assert contract == (100, 20, 0.005, 0.02)


def test_a_video_nobody_rated_scores_the_mean() -> None:
    model = fit(known(), SVDConfig()).model
    column = model.video_ids.tolist().index("never-played")
    assert model.scores(["stranger"])[0, column] == np.float32(model.offset)
    assert model.similar("never-played", 5) == []


def test_predictions_fall_back_to_what_is_known_and_stay_on_the_scale() -> None:
    model = FactorModel(
        kind="svd",
        user_ids=np.asarray(["u"]),
        video_ids=np.asarray(["v", "w"]),
        user_factors=np.asarray([[2]], dtype=np.float32),
        video_factors=np.asarray([[0.5], [9]], dtype=np.float32),
        user_bias=np.asarray([0.25], dtype=np.float32),
        video_bias=np.asarray([-0.5, 0], dtype=np.float32),
        offset=2.0,
    )
    pairs = [("u", "v"), ("u", "new"), ("new", "v"), ("new", "new"), ("u", "w")]
    rows = interactions([(user, video, 0, 1) for user, video in pairs])
    assert predict_ratings(model, rows).tolist() == [2.75, 2.25, 1.5, 2.0, 5.0]


ASKING = "import sys, ml.svd, ml.factors, ml.topk; print('numba' in sys.modules)"


def test_only_fitting_needs_numba() -> None:
    told = subprocess.run([sys.executable, "-c", ASKING], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_fits_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Neither beside the file nor in the home: as root any folder can be written, so both are files here."""
    package = tmp_path / "copy"
    package.mkdir()
    (package / "kernel_copy.py").write_text(Path(inspect.getfile(sys.modules["ml.svd_kernel"])).read_text())
    for name in ("__pycache__", "home"):
        (package / name).write_text("a file where a folder would go")
    environment = {"PATH": "", "HOME": str(package / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    told = subprocess.run(
        [sys.executable, "-c", "import kernel_copy; print(kernel_copy.epoch.signatures != [])"],
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "True"
