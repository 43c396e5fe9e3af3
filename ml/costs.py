"""What a saved model costs to ask and to keep."""

import time
from pathlib import Path

import numpy as np

from ml.evaluate import TestUsers
from ml.recommender import Recommender

ASKED = 100
TOP = 100
_WARM_UP = 5


def measure_costs(model: Recommender, folder: Path, users: TestUsers, seed: int) -> dict[str, float]:
    """`p50_ms`, `p95_ms`: the best 100 videos for one user at a time, without what they had met, over up to 100 test
    users that the seed draws; `bytes`: of all files under `folder`.

    Times are of this machine and moment, with whatever else it does: compare those of one judgement alone.
    """
    rng = np.random.default_rng(seed)
    n = len(users.user_ids)
    rows = rng.choice(n, min(ASKED, n), replace=False)
    first, last = np.searchsorted(users.met[0], rows), np.searchsorted(users.met[0], rows + 1)
    asked = [str(user_id) for user_id in users.user_ids[rows]]
    met = [users.video_ids[users.met[1][a:b]].tolist() for a, b in zip(first, last, strict=True)]
    for user_id, videos in list(zip(asked, met, strict=True))[:_WARM_UP]:
        model.recommend([user_id], TOP, {user_id: videos})
    taken = []
    for user_id, videos in zip(asked, met, strict=True):
        started = time.perf_counter()
        model.recommend([user_id], TOP, {user_id: videos})
        taken.append(1000 * (time.perf_counter() - started))
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3), "bytes": size}
