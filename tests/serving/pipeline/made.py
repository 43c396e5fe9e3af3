"""Bundles made in memory: small ones by hand, larger ones from a seed."""

import mmap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ml.factors import FactorModel
from ml.fold_in import FoldIn, MeanFoldIn
from serving.bundle import Bundle, BundleRecord, PackedModel
from serving.catalogue import Catalogue
from serving.code_version import CodeVersion
from serving.pipeline.config import PipelineConfig
from serving.pipeline.feed import FeedPipeline
from serving.ranking import Ranker
from serving.watched import Watched

# By score alone, nothing left to chance.
PLAIN = PipelineConfig(diversity=0, exploration=0)


def names(n: int, prefix: str = "v") -> list[str]:
    """Sorted ids: v0000, v0001, ..."""
    return [f"{prefix}{i:04d}" for i in range(n)]


def model_of(
    kind: str,
    users: Mapping[str, Sequence[float]],
    videos: Mapping[str, Sequence[float]],
    bias: Sequence[float] | None = None,
    fold_in: FoldIn | None = None,
) -> FactorModel:
    """A model of factors; ids in any order."""
    user_ids, video_ids = sorted(users), sorted(videos)
    d = len(next(iter(videos.values())))
    return FactorModel(
        kind=kind,
        user_ids=np.array(user_ids, np.str_) if user_ids else np.empty(0, "<U1"),
        video_ids=np.array(video_ids, np.str_),
        user_factors=np.array([users[u] for u in user_ids], np.float32).reshape(len(user_ids), d),
        video_factors=np.array([videos[v] for v in video_ids], np.float32),
        user_bias=np.zeros(len(user_ids), np.float32),
        video_bias=np.zeros(len(video_ids), np.float32) if bias is None else np.array(bias, np.float32),
        fold_in=fold_in,
    )


def popularity_of(video_ids: Sequence[str], scores: Sequence[float] | None = None) -> FactorModel:
    """The first video is the most watched, unless `scores` says otherwise."""
    falling = np.arange(len(video_ids), 0, -1) / len(video_ids)
    return model_of("popularity", {}, dict.fromkeys(video_ids, (0.0,)), falling if scores is None else scores)


def catalogue_of(
    video_ids: Sequence[str], categories: Sequence[int] | None = None, creators: Sequence[int] | None = None
) -> Catalogue:
    n = len(video_ids)
    cards = [b'"video_id":"%s"' % video.encode() for video in video_ids]
    file = mmap.mmap(-1, max(1, sum(map(len, cards))))
    file.write(b"".join(cards))
    return Catalogue(
        video_ids=np.array(video_ids, np.str_),
        categories=np.full(n, -1, np.int32) if categories is None else np.array(categories, np.int32),
        creators=np.full(n, -1, np.int32) if creators is None else np.array(creators, np.int32),
        durations_s=np.full(n, 60, np.float32),
        tag_starts=np.zeros(n + 1, np.int64),
        tag_codes=np.empty(0, np.int32),
        tagged_starts=np.zeros(1, np.int64),
        tagged_rows=np.empty(0, np.int32),
        card_starts=np.concatenate([[0], np.cumsum([len(card) for card in cards])]).astype(np.int64),
        cards=file,
    )


def watched_of(rows: Mapping[str, Sequence[int]]) -> Watched:
    users = sorted(rows)
    return Watched(
        user_ids=np.array(users, np.str_) if users else np.empty(0, "<U1"),
        starts=np.concatenate([[0], np.cumsum([len(rows[u]) for u in users])]).astype(np.int64),
        rows=np.array([row for u in users for row in sorted(rows[u])], np.int32),
    )


def bundle_of(
    *models: FactorModel,
    champion: str,
    catalogue: Catalogue,
    watched: Mapping[str, Sequence[int]] | None = None,
    bundle_id: str = "made-in-memory",
) -> Bundle:
    """`popularity` is added where it is not among the models."""
    by_kind = {model.kind: model for model in models}
    by_kind.setdefault("popularity", popularity_of(catalogue.video_ids.tolist()))
    record = BundleRecord(
        schema_version=2,
        bundle_id=bundle_id,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        code=CodeVersion(package="0", git_commit=None, git_dirty=None, sha256="0" * 64),
        champion=champion,
        models={
            kind: PackedModel(version=None, run_id=None, metrics={}, sha256="0" * 64) for kind in by_kind
        },
        training_set={},
        dagster_run_id=None,
        counts={"videos": len(catalogue)},
        files={},
    )
    return Bundle(record, catalogue, watched_of(watched or {}), by_kind)


def pipeline_of(bundle: Bundle) -> FeedPipeline:
    return FeedPipeline(bundle, Ranker(bundle))


def clustered(rng: np.random.Generator, n: int, d: int, clusters: int) -> NDArray[np.float32]:
    """Points around a few centres, as learned vectors are."""
    centres = rng.normal(size=(clusters, d))
    return (centres[rng.integers(clusters, size=n)] + 0.3 * rng.normal(size=(n, d))).astype(np.float32)


def world(
    n_videos: int,
    n_users: int = 20,
    *,
    seed: int = 0,
    kinds: Sequence[str] = ("two-tower", "svd"),
    prefix: str = "v",
    bundle_id: str = "made-in-memory",
) -> Bundle:
    """A bundle of random models over `n_videos` videos in 12 categories by 40 creators; users u0000, ..., of whom
    every one has met a few."""
    rng = np.random.default_rng(seed)
    videos, users = names(n_videos, prefix), names(n_users, "u")
    models = []
    for kind in kinds:
        vectors = clustered(rng, n_videos, 8, 12)
        tastes = clustered(rng, n_users, 8, 6)
        models.append(
            model_of(
                kind,
                dict(zip(users, tastes, strict=True)),
                dict(zip(videos, vectors, strict=True)),
                rng.normal(size=n_videos) / 5,
                MeanFoldIn(half_life_days=7.0),
            )
        )
    catalogue = catalogue_of(
        videos, rng.integers(-1, 12, size=n_videos).tolist(), rng.integers(-1, 40, size=n_videos).tolist()
    )
    met = {u: rng.choice(n_videos, min(n_videos // 3, 30), replace=False).tolist() for u in users}
    return bundle_of(*models, champion=kinds[0], catalogue=catalogue, watched=met, bundle_id=bundle_id)
