"""The user in files of the home: training sets, models, bundles; found by what is in them, not by their names."""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from ingestion.erasure.book import User
from ingestion.erasure.places import Place
from ingestion.erasure.receipt import Entry, State
from stack.settings import Settings

# The servers' own folders: what is in them is asked of the servers. Logs and records hold no ids.
_SERVERS = {"clickhouse", "postgres", "redis", "logs", "run"}
_SHOWN = 5


@dataclass
class Files:
    """Files of one kind that hold the user. They are never edited: their hashes are their versions."""

    settings: Settings
    name: str
    state: State
    note: str
    found: list[Path] = field(default_factory=list)

    def erase(self, user: User) -> int:
        return 0

    def look(self, user: User) -> Entry:
        if not self.found:
            return Entry(self.name, State.GONE)
        shown = sorted({self._version(path) for path in self.found})
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        return Entry(
            self.name,
            self.state,
            left=len(self.found),
            note=f"{', '.join(shown[:_SHOWN])}{more}: {self.note}",
        )

    def _version(self, path: Path) -> str:
        """The version a file belongs to, as its kind names them."""
        parts = path.relative_to(self.settings.home).parts
        if "md5" in parts:
            md5 = "".join(parts[-2:])
            return next(iter(self._sets_with(md5)), md5)
        if self.name == BUNDLES:
            return f"reelgraph:{parts[3]}" if len(parts) > 3 else path.name
        if self.name == MODELS:
            return next((part for part in parts if part.startswith("m-")), str(Path(*parts[:-1])))
        return path.name

    def _sets_with(self, md5: str) -> Iterator[str]:
        for root in (self.settings.home / "dvc_cache", self.settings.objects_dir / "dvc"):
            for listing in sorted(root.glob("files/md5/??/*.dir")):
                try:
                    files = json.loads(listing.read_bytes())
                except (OSError, ValueError):
                    continue  # a listing cut short names no version that could be checked out
                if any(file.get("md5") == md5 for file in files):
                    yield listing.parent.name + listing.name


TRAINING_SET, PAST_SETS, BUNDLES = "training set", "past training sets (DVC)", "bundles"
MODELS, OTHER, UNREADABLE = "models (MLflow, DVC)", "other files in the home", "broken files in the home"


class UnreadableFileError(Exception):
    """A parquet or npz file that is damaged."""


def file_places(settings: Settings, user: User) -> list[Place]:
    """The kinds of files, each with those that hold the user. Reads one column of each parquet and npz file."""
    kinds = [
        Files(settings, TRAINING_SET, State.PENDING, "the next training set replaces it (`training_job`)"),
        Files(settings, PAST_SETS, State.KEPT, "past versions stay until `dvc gc`"),
        Files(settings, BUNDLES, State.MASKED, "answered as unknown; the newest 5 bundles are kept"),
        Files(
            settings,
            MODELS,
            State.KEPT,
            "until replaced by a new training and deleted in MLflow (`mlflow gc`)",
        ),
        Files(settings, OTHER, State.KEPT, "not a place the pipeline reads"),
        Files(settings, UNREADABLE, State.UNCHECKED, "cannot be read, by nobody else either"),
    ]
    by_name = {kind.name: kind for kind in kinds}
    for path in _candidates(settings.home):
        try:
            kind = _kind(settings, path) if holds(path, user.id) else None
        except UnreadableFileError:
            kind = UNREADABLE
        if kind is not None:
            by_name[kind].found.append(path)
    return list(kinds)


def _kind(settings: Settings, path: Path) -> str:
    if path.is_relative_to(settings.training_set_dir):
        return TRAINING_SET
    if path.is_relative_to(settings.home / "dvc_cache") or path.is_relative_to(settings.objects_dir / "dvc"):
        return PAST_SETS
    if path.is_relative_to(settings.bentoml_home):
        return BUNDLES
    if path.is_relative_to(settings.objects_dir) or path.is_relative_to(settings.home / "dvc_models"):
        return MODELS
    return OTHER


def _candidates(home: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(home):
        if Path(folder) == home:
            inner[:] = [name for name in inner if name not in _SERVERS]
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                yield path


def holds(path: Path, user_id: str) -> bool:
    """Whether a parquet file has the id in its column `user_id`, or an npz file in its array `user_ids`.

    Raises `UnreadableFileError`.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            if magic == b"PAR1":
                return _in_parquet(path, user_id)
            return magic == b"PK\x03\x04" and _in_npz(file, user_id)
    except FileNotFoundError:
        return False  # gone since it was listed
    except (
        OSError,
        EOFError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:  # pyarrow's are ValueErrors
        raise UnreadableFileError(path.name) from error


def _in_parquet(path: Path, user_id: str) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if "user_id" not in file.schema_arrow.names:
            return False
        return any(
            pc.any(pc.equal(batch.column(0).cast(pa.string()), user_id)).as_py()
            for batch in file.iter_batches(columns=["user_id"])
        )


def _in_npz(file: IO[bytes], user_id: str) -> bool:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        if "user_ids.npy" not in archive.namelist():
            return False
        with archive.open("user_ids.npy") as array:
            ids = np.lib.format.read_array(array, allow_pickle=False)
    return bool((ids.astype(str) == user_id).any())
