"""Bundles of a made-up world, packed as the product packs them and kept below `build/bench-cache`."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ml.factors import FactorModel
from ml.fold_in import MeanFoldIn
from ml.ids import Ids
from serving import bento
from serving.bench.vectors import CLUSTERS, World, make_world
from serving.bundle import RECORD_FILE, ModelToPack, pack, read_record
from serving.own_imports import needed_files
from stack.settings import PROJECT_ROOT, Settings

CACHE = PROJECT_ROOT / "build" / "bench-cache"
SVD_FACTORS = 100
CATEGORIES = 25
TAGS_A_CLUSTER = 8
HALF_LIFE_DAYS = 7.0


@dataclass(frozen=True)
class Plan:
    """How large a world is. `name` begins every title of its videos: a list of two worlds shows."""

    name: str
    videos: int
    users: int
    seed: int = 0
    history: int = 50

    @property
    def user_ids(self) -> Ids:
        return np.char.add("u", np.char.zfill(np.arange(self.users).astype(np.str_), 7))

    @property
    def video_ids(self) -> Ids:
        return np.char.add("v", np.char.zfill(np.arange(self.videos).astype(np.str_), 7))

    @property
    def mark(self) -> str:
        return f"{self.name} "


def packed(plan: Plan) -> Path:
    """The bundle of a plan; made again when the code that packs bundles changed, or what makes the world."""
    folder = CACHE / f"{plan.name}-{plan.videos}-{plan.users}-{plan.seed}-{plan.history}"
    note, code = folder.with_suffix(".code"), _code()
    if note.is_file() and note.read_text() == code and (folder / RECORD_FILE).is_file():
        return folder
    world = make_world(plan.videos, plan.users, history=plan.history, seed=plan.seed)
    models = folder.with_name(folder.name + "-models")
    sources = {}
    for place, model in enumerate(_models(plan, world), start=1):
        model.save(models / model.kind)
        version = None if model.kind == "popularity" else 100 * (plan.seed + 1) + place
        sources[model.kind] = ModelToPack(models / model.kind, version, f"run-{model.kind}", {"ndcg": 0.5})
    pack(
        folder,
        champion="two-tower",
        models=sources,
        videos=_catalogue(plan, world),
        watched=_watched(plan, world),
        training_set={"version": "made-up", "window_days": 90, "rows": len(world.met)},
    )
    shutil.rmtree(models)
    note.write_text(code)
    return folder


def shelve(settings: Settings, folder: Path, bundle_id: str | None = None) -> str:
    """Put a packed bundle where its Bento would be, without copying it or the seconds a build takes; its tag.

    With a `bundle_id` of its own it is, to the endpoint, a bundle that it has not met."""
    record = read_record(folder)
    if bundle_id:
        record = record.model_copy(update={"bundle_id": bundle_id})
    tag = f"{bento.NAME}:{record.bundle_id}"
    target = bento.bundle_dir(settings, tag)
    if not target.is_dir():
        shutil.copytree(folder, target, copy_function=os.link)
        (target / RECORD_FILE).unlink()  # not through the link, which leads to the packed one
        (target / RECORD_FILE).write_text(record.model_dump_json(), "utf-8")
    return tag


def _code() -> str:
    """Of all that a packed bundle follows from."""
    sources = needed_files("serving.bundle", PROJECT_ROOT) + needed_files(
        "serving.bench.vectors", PROJECT_ROOT
    )
    own = [Path(__file__).relative_to(PROJECT_ROOT)]
    return hashlib.sha256(
        b"".join((PROJECT_ROOT / path).read_bytes() for path in [*sources, *own])
    ).hexdigest()


def _models(plan: Plan, world: World) -> list[FactorModel]:
    rng = np.random.default_rng(plan.seed + 1000)
    n, m = plan.users, plan.videos
    flat = np.zeros((m, 1), np.float32)
    nobody = np.zeros(n, np.float32)
    turned = rng.standard_normal((world.videos.shape[1], SVD_FACTORS), np.float32) / np.sqrt(SVD_FACTORS)

    def model(
        kind: str, users: np.ndarray, videos: np.ndarray, bias: np.ndarray, **more: object
    ) -> FactorModel:
        strangers = users.shape[0] == 0
        return FactorModel(
            kind=kind,
            user_ids=plan.user_ids[:0] if strangers else plan.user_ids,
            video_ids=plan.video_ids,
            user_factors=users.astype(np.float32),
            video_factors=videos.astype(np.float32),
            user_bias=nobody[: len(users)],
            video_bias=bias.astype(np.float32),
            **more,  # type: ignore[arg-type]
        )

    means = MeanFoldIn(HALF_LIFE_DAYS)
    noise = rng.standard_normal(world.videos.shape, np.float32) * np.float32(0.5 / np.sqrt(64))
    content = world.videos + noise
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    tastes = world.users / np.linalg.norm(world.users, axis=1, keepdims=True)
    return [
        model("two-tower", world.users, world.videos, 0.3 * world.fame, fold_in=means),
        model("svd", world.users @ turned * 0.1, world.videos @ turned, 0.2 * world.fame, offset=2.5),
        model("content", tastes, content, np.zeros(m), fold_in=means),
        model("popularity", np.zeros((0, 1), np.float32), flat, np.exp(world.fame) * 100),
    ]


def _catalogue(plan: Plan, world: World) -> pa.Table:
    rng = np.random.default_rng(plan.seed + 2000)
    m = plan.videos
    tags = rng.integers(TAGS_A_CLUSTER, size=(m, 3)) + TAGS_A_CLUSTER * world.cluster[:, None]
    names = pa.array([f"tag{i}" for i in range(CLUSTERS * TAGS_A_CLUSTER)])
    categories = pa.array([f"category-{i}" for i in range(CATEGORIES)])
    creators = (m // 50 * rng.random(m) ** 2).astype(np.int64)
    titles = [f"{plan.mark}clip {i} of cluster {c}" for i, c in enumerate(world.cluster.tolist())]
    return pa.table(
        {
            "video_id": pa.array(plan.video_ids.tolist()),
            "creator_id": [f"creator-{i}" for i in creators.tolist()],
            "title": titles,
            "description": ["What somebody filmed and found worth showing to others."] * m,
            "category": categories.take(pa.array(world.cluster % CATEGORIES)),
            "tags": pa.ListArray.from_arrays(
                pa.array(np.arange(0, 3 * m + 1, 3, dtype=np.int32)), names.take(pa.array(tags.reshape(-1)))
            ),
            "duration_ms": pa.array(np.clip(rng.lognormal(10.3, 0.6, m), 3_000, 600_000).astype(np.int64)),
            "thumbnail_url": [f"/thumbnails/{i}.jpg" for i in range(m)],
        }
    )


def _watched(plan: Plan, world: World) -> pa.Table:
    users, videos = pa.array(plan.user_ids.tolist()), pa.array(plan.video_ids.tolist())
    return pa.table(
        {
            "user_id": users.take(pa.array(world.met[:, 0])),
            "video_id": videos.take(pa.array(world.met[:, 1])),
        }
    )
