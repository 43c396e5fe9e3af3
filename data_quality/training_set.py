"""The training set: the folder that interactions, catalogue and pairs met become, the same bytes each time.

The folder is what DVC hashes, so it holds only what decides a model: the rows, the catalogue, the window. Who
made it and when (run id, git commit, wall clock) would give the same data a new hash at every run; that goes
beside it, into DVC's pointer, and on the Dagster materialization, the MLflow run and the bundle. The same input
gives the same bytes, in whatever pieces it came in. Rows pass through in pieces; at most one group of a parquet
file is in memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_quality.training_rows import (
    NoEventsError,
    TrainingSetEmptyError,
    data_clock,
    fetch_catalogue,
    stream_interactions,
    stream_met,
    stream_people,
    training_rows,
    watched_pairs,
)
from data_quality.training_set_schema import (
    FEATURES,
    FEATURES_SCHEMA,
    FEATURES_SEEN,
    FEATURES_VERSION,
    INTERACTIONS_FILE,
    INTERACTIONS_SCHEMA,
    MET_FILE,
    MET_SCHEMA,
    META_FILE,
    ORDER,
    TRAINING_SCHEMA,
    USERS_FILE,
    USERS_SCHEMA,
    VIDEOS_FILE,
    VIDEOS_SCHEMA,
    interactions_schema,
)
from data_quality.windows import Window, epoch_ms, from_epoch_ms, iso_ms
from stack.atomic_folder import canonical_json, replace_folder

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "FEATURES_SCHEMA",
    "INTERACTIONS_FILE",
    "INTERACTIONS_SCHEMA",
    "META_FILE",
    "MET_FILE",
    "MET_SCHEMA",
    "MIN_WATCH_TIME_RATIO",
    "TRAINING_SCHEMA",
    "USERS_FILE",
    "USERS_SCHEMA",
    "VIDEOS_FILE",
    "VIDEOS_SCHEMA",
    "WINDOW_DAYS",
    "NoEventsError",
    "TrainingSetEmptyError",
    "Window",
    "data_clock",
    "epoch_ms",
    "export_training_set",
    "from_epoch_ms",
    "iso_ms",
    "normalised_catalogue",
    "normalised_interactions",
    "normalised_met",
    "watched_pairs",
    "write_training_set",
]

MIN_WATCH_TIME_RATIO = 0.1  # contract R4: the ratio must be above it
WINDOW_DAYS = 90  # contract R4
ROW_GROUP = 1 << 18  # rows; about 75 MB of interactions with their features


def export_training_set(client: "Client", directory: Path, *, seed: int = 0) -> dict[str, Any]:
    """Write the set that dbt's training tables hold; returns the content of `meta.json`.

    Raises `TrainingSetEmptyError`; the folder that was there stays.
    """
    rows = training_rows(client)
    return _write(
        directory,
        stream_interactions(client, rows),
        TRAINING_SCHEMA,
        fetch_catalogue(client),
        stream_met(client, as_of=rows.window.as_of),
        stream_people(client, as_of=rows.window.as_of),
        rows.window,
        rows.min_ratio,
        seed,
    )


def write_training_set(
    directory: Path,
    interactions: pa.Table,
    catalogue: pa.Table,
    *,
    met: pa.Table,
    people: pa.Table | None = None,
    as_of: datetime,
    window_days: int = WINDOW_DAYS,
    min_ratio: float = MIN_WATCH_TIME_RATIO,
    seed: int = 0,
) -> dict[str, Any]:
    """Write tables in any order as a training set; returns the content of `meta.json`.

    The interactions may come without features (all of them or none). `met` are the pairs that a judge needs to leave
    out of a list what a feed would leave out, `people` the profiles that are known. Raises `TrainingSetEmptyError`;
    the folder that was there stays.
    """
    window = Window(as_of, window_days)
    if interactions.num_rows == 0:
        raise TrainingSetEmptyError(
            f"no interaction in the {window.days} days {window} has watch_time_ratio > {min_ratio}"
        )
    schema = interactions_schema(interactions.schema)
    rows = normalised_interactions(interactions)
    profiles = normalised_people(USERS_SCHEMA.empty_table() if people is None else people)
    return _write(
        directory, [rows], schema, catalogue, [normalised_met(met)], [profiles], window, min_ratio, seed
    )


def _write(
    directory: Path,
    interactions: Iterable[pa.Table],
    schema: pa.Schema,
    catalogue: pa.Table,
    met: Iterable[pa.Table],
    people: Iterable[pa.Table],
    window: Window,
    min_ratio: float,
    seed: int,
) -> dict[str, Any]:
    """The five files as one folder, whole or not at all. Interactions and pairs come in the order of their file."""
    catalogue = normalised_catalogue(catalogue)
    counts = Counts()
    with replace_folder(directory) as folder:
        write_parquet(counts.watching(interactions), schema, folder / INTERACTIONS_FILE)
        write_parquet([catalogue], VIDEOS_SCHEMA, folder / VIDEOS_FILE)
        met_pairs = write_parquet(met, MET_SCHEMA, folder / MET_FILE)
        profiles = write_parquet(people, USERS_SCHEMA, folder / USERS_FILE)
        meta = {
            "as_of": iso_ms(window.as_of),
            "window_start": iso_ms(window.start),
            "window_days": window.days,
            "min_watch_time_ratio": min_ratio,
            "rows": counts.rows,
            "users": len(counts.users),
            "videos": len(counts.videos),
            "positives": counts.positives,
            "catalogue_videos": catalogue.num_rows,
            "met_pairs": met_pairs,
            "profiles": profiles,
            "seed": seed,
            "schema": {
                INTERACTIONS_FILE: _types(schema),
                VIDEOS_FILE: _types(VIDEOS_SCHEMA),
                MET_FILE: _types(MET_SCHEMA),
                USERS_FILE: _types(USERS_SCHEMA),
            },
            "features": _features() if schema is TRAINING_SCHEMA else None,
        }
        (folder / META_FILE).write_bytes(canonical_json(meta))
    return meta


def _types(schema: pa.Schema) -> dict[str, str]:
    return {column.name: str(column.type) for column in schema}


def _features() -> dict[str, Any]:
    return {
        "version": FEATURES_VERSION,
        "seen": FEATURES_SEEN,
        "definitions": {feature.name: feature.definition for feature in FEATURES},
    }


@dataclass
class Counts:
    """What `meta.json` says of the interactions, counted while they pass."""

    rows: int = 0
    positives: int = 0
    users: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    videos: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))

    def watching(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self.rows += table.num_rows
            self.positives += pc.sum(table["is_positive"].cast(pa.int64())).as_py() or 0
            self.users = _distinct(self.users, table["user_id"])
            self.videos = _distinct(self.videos, table["video_id"])
            yield table


def _distinct(seen: pa.Array, more: pa.ChunkedArray) -> pa.Array:
    return pc.unique(pa.chunked_array([seen, pc.unique(more.cast(pa.string()))]))


def normalised_interactions(table: pa.Table) -> pa.Table:
    schema = interactions_schema(table.schema)
    return _shaped(table, schema).sort_by(ORDER).combine_chunks()


def normalised_catalogue(table: pa.Table) -> pa.Table:
    return _shaped(table, VIDEOS_SCHEMA).sort_by("video_id").combine_chunks()


def normalised_met(table: pa.Table) -> pa.Table:
    pairs = _shaped(table, MET_SCHEMA)
    return pairs.sort_by([(name, "ascending") for name in MET_SCHEMA.names]).combine_chunks()


def normalised_people(table: pa.Table) -> pa.Table:
    return _shaped(table, USERS_SCHEMA).sort_by("user_id").combine_chunks()


def _shaped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`, in its order and types. A lossy cast or a missing column raises."""
    return table.select(schema.names).cast(schema).replace_schema_metadata(None)


def write_parquet(
    tables: Iterable[pa.Table], schema: pa.Schema, path: Path, row_group: int = ROW_GROUP
) -> int:
    """Rows written. Every setting that shapes the bytes is named, so that only a new pyarrow can change them."""
    written = 0
    with pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        write_statistics=True,
        data_page_version="1.0",
        store_schema=True,
    ) as writer:
        for group in _groups((_shaped(table, schema) for table in tables), row_group):
            writer.write_table(group, row_group_size=row_group)
            written += group.num_rows
    return written


def _groups(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `rows` rows (the last may have fewer), each in one piece: where a piece that
    came in began must not shape the pages."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows).combine_chunks()
            rest = whole.slice(rows)
            held, count = [rest], rest.num_rows
    if count:
        yield pa.concat_tables(held).combine_chunks()
