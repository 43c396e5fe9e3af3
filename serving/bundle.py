"""A bundle: everything the endpoint serves from, in one folder, with the record of its making.

bundle.json               the record: ids, versions, metrics, training set, a checksum of every file
models/<kind>/            saved models
videos.parquet            the catalogue, for people and for re-packing
catalogue.npz cards.bin   the same as arrays and ready-made JSON, for the endpoint
watched.npz               what each user has met already
indexes/<kind>/           of a large catalogue: how to search it without scoring all of it
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ml.errors import ModelError
from ml.factors import FactorModel
from ml.files import replaced, sha256_of
from ml.recommender import KINDS, Recommender
from ml.saved import load as load_model
from ml.saved import read as read_model
from serving import catalogue as catalogues
from serving.catalogue import Catalogue
from serving.code_version import CodeVersion, code_version
from serving.errors import BundleInputError, BundleMissingError, CorruptBundleError, IncompatibleBundleError
from serving.pipeline import ann
from serving.pipeline.ann import VectorIndex
from serving.watched import Watched

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2
# 1: before there were indexes and creators. Still read: an upgrade must not end what serves.
READABLE = (1, SCHEMA_VERSION)
RECORD_FILE = "bundle.json"
INDEXES = "indexes"
TRENDING = "popularity"


@dataclass(frozen=True)
class ModelToPack:
    """A saved model's folder and where it came from; `version` is None for a model that is not registered."""

    model_dir: Path
    version: int | None = None
    run_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class PackedModel(BaseModel):
    """A model as the record names it. `version` is the registered version of `recommender`."""

    model_config = ConfigDict(frozen=True)

    version: int | None
    run_id: str | None
    metrics: dict[str, float]
    sha256: str


class PackedFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int


class BundleRecord(BaseModel):
    """The record of a bundle's making. `bundle_id` follows from the content: the same content, the same id."""

    model_config = ConfigDict(frozen=True)

    schema_version: int
    bundle_id: str
    created_at: datetime
    code: CodeVersion
    champion: str
    models: dict[str, PackedModel]
    training_set: dict[str, Any]
    dagster_run_id: str | None
    counts: dict[str, int]
    files: dict[str, PackedFile]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle. Immutable: a request that holds one is answered from it alone."""

    record: BundleRecord
    catalogue: Catalogue
    watched: Watched
    models: Mapping[str, Recommender]
    indexes: Mapping[str, VectorIndex] = field(default_factory=dict)


def pack(
    out_dir: Path,
    *,
    champion: str,
    models: Mapping[str, ModelToPack],
    videos: "pa.Table | Path",
    watched: "pa.Table",
    training_set: Mapping[str, Any],
    dagster_run_id: str | None = None,
) -> BundleRecord:
    """Write a bundle to `out_dir`, whole or not at all, replacing what is there.

    `models` by kind, the champion and `popularity` among them. `videos`: a table or parquet file with the columns
    of `catalogue.REQUIRED`. `watched`: columns user_id, video_id, every video a user has met. `training_set`: what
    was trained on (`version`, `window_days`, `rows`, ...). Raises `BundleInputError`, `ml.errors.ModelFilesError`.
    """
    import pyarrow.parquet as pq

    _check_kinds(champion, models)
    table = pq.read_table(videos) if isinstance(videos, Path) else videos
    with replaced(out_dir) as fresh:
        loaded = {}
        for kind, model in sorted(models.items()):
            loaded[kind] = load_model(model.model_dir)
            if loaded[kind].kind != kind:
                raise BundleInputError(f"the model packed as {kind} is a {loaded[kind].kind} model")
            shutil.copytree(model.model_dir, fresh / "models" / kind)
        n_videos = catalogues.write(fresh, table)
        known = Watched.from_table(watched, Catalogue.load(fresh).video_ids)
        known.save(fresh)
        _save_indexes(fresh, loaded)
        files = _checksums(fresh)
        code = code_version()
        packed = {
            kind: PackedModel(
                version=model.version,
                run_id=model.run_id,
                metrics=dict(model.metrics),
                sha256=_model_checksum(kind, files),
            )
            for kind, model in sorted(models.items())
        }
        record = BundleRecord(
            schema_version=SCHEMA_VERSION,
            bundle_id=_bundle_id(champion, packed, files, code),
            created_at=datetime.now(UTC),
            code=code,
            champion=champion,
            models=packed,
            training_set=dict(training_set),
            dagster_run_id=dagster_run_id,
            counts={
                "videos": n_videos,
                "users": len(loaded[champion].user_ids),
                "users_with_history": len(known.user_ids),
                "watched": len(known.rows),
            },
            files=files,
        )
        (fresh / RECORD_FILE).write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
    return record


def read_record(folder: Path) -> BundleRecord:
    """Raises `BundleMissingError`, `CorruptBundleError`, `IncompatibleBundleError`."""
    path = folder / RECORD_FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleMissingError(f"no bundle in {folder.name}: {RECORD_FILE} is not there") from error
    except (OSError, ValueError) as error:
        raise CorruptBundleError(f"{RECORD_FILE} cannot be read: {error}") from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found not in READABLE:
        raise IncompatibleBundleError(
            f"{RECORD_FILE}: schema_version {found}, this code reads {' and '.join(map(str, READABLE))}"
        )
    try:
        return BundleRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CorruptBundleError(f"{RECORD_FILE}: {place}: {first['msg']}") from error


def verify(folder: Path) -> BundleRecord:
    """Compare every file with its checksum, and let there be no other; the same errors as `read_record`.

    Hidden files may be there: volumes have their own (`.nfs...`, `.DS_Store`), and nothing of ours is read from one."""
    record = read_record(folder)
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in record.files and name != RECORD_FILE and path.name[0] != ".":
            raise CorruptBundleError(f"bundle {record.bundle_id}: {name} is not in its record")
    for name, expected in record.files.items():
        path = folder / name
        if not path.is_file():
            raise CorruptBundleError(f"bundle {record.bundle_id}: {name} is missing")
        if _checksum(path) != expected:
            raise CorruptBundleError(f"bundle {record.bundle_id}: {name} is damaged (its checksum differs)")
    for kind in (record.champion, TRENDING):
        if kind not in record.models:
            raise CorruptBundleError(f"bundle {record.bundle_id}: the {kind} model is not in the record")
    return record


def load(folder: Path) -> Bundle:
    """Verify and read a bundle; the same errors as `read_record`."""
    return read(folder, verify(folder))


def read(folder: Path, record: BundleRecord) -> Bundle:
    """Read a bundle whose files were verified; raises `CorruptBundleError`."""
    try:
        return Bundle(
            record=record,
            catalogue=Catalogue.load(folder),
            watched=Watched.load(folder),
            models={kind: read_model(folder / "models" / kind) for kind in record.models},
            indexes={
                kind: index
                for kind in record.models
                if (index := VectorIndex.load(folder / INDEXES / kind)) is not None
            },
        )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile, ModelError) as error:
        raise CorruptBundleError(f"bundle {record.bundle_id}: {error}") from error


def _save_indexes(folder: Path, models: Mapping[str, Recommender]) -> None:
    """An index for each model with factors over a catalogue that is too large to be scored whole."""
    for kind, model in models.items():
        if kind != TRENDING and isinstance(model, FactorModel) and len(model.video_ids) >= ann.FROM_VIDEOS:
            index = ann.build(model)
            if index is not None:
                index.save(folder / INDEXES / kind)


def _check_kinds(champion: str, models: Mapping[str, ModelToPack]) -> None:
    unknown = sorted(set(models) - set(KINDS))
    if unknown:
        raise BundleInputError(f"unknown kind of model: {unknown[0]} (known: {', '.join(KINDS)})")
    for kind in (champion, TRENDING):
        if kind not in models:
            raise BundleInputError(
                f"the {kind} model is not among those to pack: {', '.join(sorted(models))}"
            )


def _checksum(path: Path) -> PackedFile:
    return PackedFile(sha256=sha256_of(path), bytes=path.stat().st_size)


def _checksums(folder: Path) -> dict[str, PackedFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in paths}


def _model_checksum(kind: str, files: Mapping[str, PackedFile]) -> str:
    parts = {name: file.sha256 for name, file in files.items() if name.startswith(f"models/{kind}/")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _bundle_id(
    champion: str, models: Mapping[str, PackedModel], files: Mapping[str, PackedFile], code: CodeVersion
) -> str:
    content = {
        "schema_version": SCHEMA_VERSION,
        "code": code.sha256,
        "champion": champion,
        "models": {kind: [model.version, model.run_id] for kind, model in models.items()},
        "files": {name: file.sha256 for name, file in files.items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
