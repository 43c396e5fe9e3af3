"""Importer of KuaiRand-Pure (Gao et al., CIKM 2022, kuairand.com): real impressions as playback events.

What the data set does not record is not made up; the contract's mandatory columns then hold a fixed value:
`network_type` other, `device_type` android (the contract has no "unknown"; the app is a phone app),
`scroll_speed_ms` 0, `request_id` empty, `geo_location` and `region` CN and `language` zh (the app's market), `gender`
unknown, `age` null, view and like counts 0. `position_index` is the impression's ordinal (from 0) among those the log
has of the same user, tab and UTC day. See `kuairand_events` for how a log row becomes events.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_quality.contracts import USERS, VIDEOS, Gender
from ingestion.csv_columns import Column, read_columns
from ingestion.errors import SourceError
from ingestion.events import constant
from ingestion.kuairand_events import Impressions, event_batches

NAME = "kuairand"
MAPPING_VERSION = 1  # raise it when the same files are to give other rows

LOG_PATTERNS = ("log_standard_*_pure.csv", "log_random_*_pure.csv")
USERS_FILE = "user_features_pure.csv"
VIDEOS_FILE = "video_features_basic_pure.csv"

_MAX_ID = 2**53
_MAX_MS = 2**31 - 1  # 24 days: what the contract's Int32 positions can hold
LOG_COLUMNS = (
    Column("user_id", "int", 0, _MAX_ID),
    Column("video_id", "int", 0, _MAX_ID),
    Column("time_ms", "int", 946_684_800_000, 4_102_444_799_999),
    Column("play_time_ms", "int", 0, _MAX_MS),
    Column("duration_ms", "int", 0, _MAX_MS),
    Column("is_like", "int", 0, 1),
    Column("is_comment", "int", 0, 1),
    Column("is_forward", "int", 0, 1),
    Column("is_follow", "int", 0, 1),
    Column("is_hate", "int", 0, 1),
    Column("tab", "int", 0, 1000),
)
_USER_COLUMNS = (Column("user_id", "int", 0, _MAX_ID), Column("register_days", "int", 0, 20_000))
_VIDEO_COLUMNS = (
    Column("video_id", "int", 0, _MAX_ID),
    Column("author_id", "int", 0, _MAX_ID),
    Column("video_type", "text", nullable=True),
    Column("upload_dt", "date", nullable=True),
    Column("upload_type", "text", nullable=True),
    Column("video_duration", "float", 0, _MAX_MS, nullable=True),
    Column("music_id", "int", 0, _MAX_ID, nullable=True),
    Column("tag", "text", nullable=True),
)
# `register_days` counts to the end of the published log.
_FEATURES_AS_OF_MS = 1_652_025_600_000  # 2022-05-08T16:00Z, midnight in the app's time zone
_DAY_MS = 86_400_000
_UTC_MS = pa.timestamp("ms", "UTC")
_LANGUAGE, _COUNTRY = "zh", "CN"


class KuaiRand:
    """The data set in a folder: `path` holds the published `data/` folder, or is it."""

    name = NAME

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """The files by role; raises `SourceError` naming what is not there."""
        if not self.path.exists():
            raise SourceError(self.path, "no such folder")
        if not self.path.is_dir():
            raise SourceError(self.path, "is not a folder; give the one that holds KuaiRand-Pure's data/")
        folder = self.path / "data" if (self.path / "data").is_dir() else self.path
        logs = sorted(file for pattern in LOG_PATTERNS for file in folder.glob(pattern))
        if not logs:
            raise SourceError(folder / LOG_PATTERNS[0], "no such file")
        for name in (USERS_FILE, VIDEOS_FILE):
            if not (folder / name).is_file():
                raise SourceError(folder / name, "no such file")
        return {"logs": logs, "users": [folder / USERS_FILE], "videos": [folder / VIDEOS_FILE]}

    def fingerprint(self) -> str:
        """SHA-256 over the mapping's version and each file's name and bytes; the folder's place is no part of it."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{NAME}/{MAPPING_VERSION}".encode())
        for file in sorted(file for files in self._files.values() for file in files):
            with file.open("rb") as stream:
                digest.update(f"\n{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
        return digest.hexdigest()

    def validate(self) -> None:
        _ = self._impressions, self._users, self._videos

    @cached_property
    def _impressions(self) -> Impressions:
        files = self._files["logs"]
        tables = [read_columns(file, LOG_COLUMNS) for file in files]
        for file, table in zip(files, tables, strict=True):
            if table.num_rows == 0:
                raise SourceError(file, "has no rows")
        table = pa.concat_tables(tables)
        return Impressions.from_log({name: table[name].to_numpy() for name in table.column_names})

    @cached_property
    def _users(self) -> pa.Table:
        return _read_unique(self._files["users"][0], _USER_COLUMNS, "user_id")

    @cached_property
    def _videos(self) -> pa.Table:
        return _read_unique(self._files["videos"][0], _VIDEO_COLUMNS, "video_id")

    @property
    def rows_read(self) -> int:
        return self._impressions.log_rows

    def users(self) -> pa.Table:
        raw = self._users
        rows = raw.num_rows
        created = _FEATURES_AS_OF_MS - raw["register_days"].to_numpy() * _DAY_MS
        columns = {
            "user_id": raw["user_id"].cast(pa.string()),
            "created_at": _instants(created),
            "age": pa.nulls(rows, pa.int16()),
            "gender": constant(Gender.UNKNOWN, rows),
            "language": constant(_LANGUAGE, rows),
            "interested_categories": _no_texts(rows),
            "avg_daily_watch_time_ms": pa.repeat(pa.scalar(0, pa.int64()), rows),
            "device_type": constant("unknown", rows),
            "preferred_creators": _no_texts(rows),
            "region": constant(_COUNTRY, rows),
        }
        return pa.table([columns[name] for name in USERS.names], schema=USERS.schema)

    def videos(self) -> pa.Table:
        """`tags` are the data set's topic numbers, `category` the first of them; titles say what is known."""
        raw = self._videos
        rows = raw.num_rows
        ids = raw["video_id"].cast(pa.string()).to_pylist()
        tags = [text.split(",") if text else [] for text in raw["tag"].to_pylist()]
        duration = pc.cast(pc.round(raw["video_duration"]), pa.int64())
        known_sound = pc.greater(raw["music_id"], 0)
        columns = {
            "video_id": pa.array(ids, pa.string()),
            "creator_id": raw["author_id"].cast(pa.string()),
            "title": pa.array([_title(video, topics) for video, topics in zip(ids, tags, strict=True)]),
            "description": pa.array(
                [
                    f"{kind or 'UNKNOWN'} video, uploaded by {way or 'UNKNOWN'}"
                    for kind, way in zip(
                        raw["video_type"].to_pylist(), raw["upload_type"].to_pylist(), strict=True
                    )
                ],
                pa.string(),
            ),
            "upload_time": raw["upload_dt"].cast(pa.timestamp("ms")).cast(_UTC_MS),
            "duration_ms": pc.if_else(pc.greater(duration, 0), duration, pa.scalar(None, pa.int64())),
            "category": pa.array([_category(topics) for topics in tags], pa.string()),
            "tags": pa.array(tags, pa.list_(pa.string())),
            "language": constant(_LANGUAGE, rows),
            "sound_id": pc.if_else(
                known_sound, raw["music_id"].cast(pa.string()), pa.scalar(None, pa.string())
            ),
            "thumbnail_url": constant("", rows),
            "is_trending": pa.repeat(pa.scalar(False), rows),
            "view_count": pa.repeat(pa.scalar(0, pa.int64()), rows),
            "like_count": pa.repeat(pa.scalar(0, pa.int64()), rows),
        }
        return pa.table([columns[name] for name in VIDEOS.names], schema=VIDEOS.schema)

    def events(self) -> Iterator[pa.RecordBatch]:
        return event_batches(self._impressions)

    def notes(self) -> dict[str, int]:
        return self._impressions.notes()


def _read_unique(path: Path, columns: tuple[Column, ...], key: str) -> pa.Table:
    table = read_columns(path, columns)
    if table.num_rows == 0:
        raise SourceError(path, "has no rows")
    values, counts = np.unique(table[key].to_numpy(), return_counts=True)
    if len(values) < table.num_rows:
        raise SourceError(path, "appears more than once", column=key, value=str(values[counts > 1][0]))
    return table


def _category(topics: list[str]) -> str:
    return f"topic {topics[0]}" if topics else "unknown"


def _title(video_id: str, topics: list[str]) -> str:
    return f"Video {video_id} · {_category(topics)}" if topics else f"Video {video_id}"


def _instants(epoch_ms: np.ndarray) -> pa.Array:
    return pa.array(epoch_ms.astype("datetime64[ms]")).cast(_UTC_MS)


def _no_texts(rows: int) -> pa.Array:
    return pa.array([[]] * rows, pa.list_(pa.string()))
