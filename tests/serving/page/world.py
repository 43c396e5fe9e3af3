"""A small world that looks like something on the demo page: sixty videos, a hundred viewers, one hostile title."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ml.factors import FactorModel
from serving.bundle import BundleRecord, ModelToPack, pack

SEED = 7
VIDEOS = 60
BROKEN = "/thumbnails/gone.jpg"
HOSTILE = "v07"
HOSTILE_TITLE = '<img src=x onerror="window.hacked=1"></h3><script>window.hacked=1</script> & "quotes"'
# One that loads, one that does not, one that must not be asked for.
THUMBNAILS = {7: "/static/demo/icon.svg", 3: BROKEN, 5: "javascript:window.hacked=1"}
CATEGORIES = ("cooking", "music", "travel", "comedy", "sport", "science", "pets")
WHAT = (
    "quiet morning",
    "slow tour",
    "ten minutes",
    "first try",
    "short guide",
    "long walk",
    "small wonder",
    "late show",
)
USERS = tuple(f"viewer-{i:02d}" for i in range(100))
"""Models know them all; only the first twelve have a history."""
WITH_HISTORY = 12


def page_videos() -> pa.Table:
    """Every eighth without a category; the first without a length, the second of an hour."""
    kinds = [CATEGORIES[i % 7] if i % 8 else None for i in range(VIDEOS)]
    titles = [f"A {WHAT[i % 8]} of {kind or 'something'}, part {i}" for i, kind in enumerate(kinds)]
    titles[7] = HOSTILE_TITLE
    return pa.table(
        {
            "video_id": [f"v{i:02d}" for i in range(VIDEOS)],
            "creator_id": [f"creator-{i % 9}" for i in range(VIDEOS)],
            "title": titles,
            "description": [f"What happens in {title.lower()}." for title in titles],
            "category": kinds,
            "tags": [[kind, WHAT[i % 8].split()[0]] if kind else [] for i, kind in enumerate(kinds)],
            "duration_ms": [None, 3_600_000, *(8_000 + 1_700 * i for i in range(2, VIDEOS))],
            "thumbnail_url": [THUMBNAILS.get(i, "") for i in range(VIDEOS)],
        }
    )


def page_pack(folder: Path, version: int = 3) -> BundleRecord:
    """A bundle in `folder`: SVD (of this version), two-tower (the next; champion) and popularity, of a fixed seed."""
    models = {}
    for number, kind in enumerate(("svd", "two-tower", "popularity"), start=version):
        source = folder.parent / f"{folder.name}-{kind}"
        _model(kind).save(source)
        models[kind] = ModelToPack(
            source, None if kind == "popularity" else number, f"run-{kind}", {"ndcg": 0.5}
        )
    # The first viewer has met forty videos, the others fewer and fewer; nobody has met the hostile one.
    met = [
        (user, f"v{(3 * i + place) % VIDEOS:02d}")
        for place, user in enumerate(USERS[:WITH_HISTORY])
        for i in range(20 - place)
    ]
    met = [(user, video) for user, video in met if video != HOSTILE]
    return pack(
        folder,
        champion="two-tower",
        models=models,
        videos=page_videos(),
        watched=pa.table({"user_id": [u for u, _ in met], "video_id": [v for _, v in met]}),
        training_set={"version": "abc.dir", "window_days": 90, "rows": len(met)},
        dagster_run_id="0a1b2c3d-run",
    )


def _model(kind: str) -> FactorModel:
    rng = np.random.default_rng([SEED, len(kind)])
    flat = kind == "popularity"
    taste = np.zeros((len(USERS), 8)) if flat else rng.normal(size=(len(USERS), 8))
    place = np.zeros((VIDEOS, 8)) if flat else rng.normal(size=(VIDEOS, 8))
    bias = rng.uniform(0, 1, VIDEOS)
    bias[int(HOSTILE[1:])] = 30.0  # first in every list
    return FactorModel(
        kind=kind,
        user_ids=np.array(USERS),
        video_ids=np.array([f"v{i:02d}" for i in range(VIDEOS)]),
        user_factors=taste.astype(np.float32),
        video_factors=place.astype(np.float32),
        user_bias=np.zeros(len(USERS), np.float32),
        video_bias=bias.astype(np.float32),
        offset=0.0,
        info={"made": "by hand"},
    )
