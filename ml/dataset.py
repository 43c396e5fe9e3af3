"""What models are trained on: interactions and the catalogue, as columns, and both as matrix rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml.errors import TrainingSetError
from ml.ids import Ids, Rows, lookup, vocabulary

UNKNOWN_MS = -1

INTERACTIONS_FILE = "interactions.parquet"
VIDEOS_FILE = "videos.parquet"
WATCHED_FILE = "watched.parquet"


def _read(path: Path, columns: list[str]) -> pa.Table:
    if not path.is_file():
        raise TrainingSetError(f"{path.name}: no such file in {path.parent}")
    try:
        present = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise TrainingSetError(f"{path.name}: not a parquet file ({error})") from error
    missing = [name for name in columns if name not in present]
    if missing:
        raise TrainingSetError(f"{path.name}: lacks column {', '.join(missing)}")
    return pq.read_table(path, columns=columns)


def _ids(table: pa.Table, column: str, where: str) -> Ids:
    values = table[column].cast(pa.string())
    if values.null_count or pc.any(pc.equal(values, "")).as_py():
        raise TrainingSetError(f"{where}: {column} is empty in a row")
    if pc.any(pc.match_substring(values, "\0")).as_py():  # numpy would cut the id off there
        raise TrainingSetError(f"{where}: {column} has a NUL character in a row")
    return np.asarray(values.to_pylist(), dtype=np.str_) if len(values) else np.empty(0, dtype="<U1")


def _refuse_nulls(table: pa.Table, columns: list[str], where: str) -> None:
    for column in columns:
        if table[column].null_count:
            raise TrainingSetError(f"{where}: {column} is null in a row")


def _text(table: pa.Table, column: str) -> Ids:
    values = pc.fill_null(table[column].cast(pa.string()), "").to_pylist()
    return np.asarray(values, dtype=np.str_) if values else np.empty(0, dtype="<U1")


def _epoch_ms(column: pa.ChunkedArray) -> NDArray[np.int64]:
    whole = column.cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())
    return pc.fill_null(whole, UNKNOWN_MS).to_numpy().astype(np.int64)


@dataclass(frozen=True)
class Interactions:
    """One row per watch session, oldest first. All arrays have shape (n,).

    `started_at_ms` and `ended_at_ms` are epoch milliseconds UTC. What a row says (watch time, likes) is known from
    its end on: who asks at time t may use rows with `ended_at_ms` < t alone. `ratings` are 0-5 (R4), `weights` >= 0
    say how strong the evidence of interest is, `positives` whether it counts as interest at all.
    """

    user_ids: Ids
    video_ids: Ids
    started_at_ms: NDArray[np.int64]
    ended_at_ms: NDArray[np.int64]
    ratings: NDArray[np.float32]
    weights: NDArray[np.float32]
    positives: NDArray[np.bool_]

    def __post_init__(self) -> None:
        lengths = {name: len(value) for name, value in vars(self).items()}
        if len(set(lengths.values())) > 1:
            raise TrainingSetError(f"columns differ in length: {lengths}")
        if (self.ended_at_ms < self.started_at_ms).any():
            raise TrainingSetError("ended_at: a row ends before it starts")
        for name in ("ratings", "weights"):
            values = getattr(self, name)
            if not np.isfinite(values).all() or (values < 0).any():
                raise TrainingSetError(f"{name}: a value is negative or not finite")

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, rows: NDArray) -> Self:
        """The rows of a mask or an index array, in its order."""
        return type(self)(**{name: value[rows] for name, value in vars(self).items()})

    @classmethod
    def from_parquet(cls, path: Path) -> Self:
        """Read `interactions.parquet`; raises `TrainingSetError` naming the file and the column."""
        path = Path(path)
        values = ["started_at", "ended_at", "rating", "weight", "is_positive"]
        table = _read(path, ["user_id", "video_id", *values])
        _refuse_nulls(table, values, path.name)
        rows = cls(
            user_ids=_ids(table, "user_id", path.name),
            video_ids=_ids(table, "video_id", path.name),
            started_at_ms=_epoch_ms(table["started_at"]),
            ended_at_ms=_epoch_ms(table["ended_at"]),
            ratings=table["rating"].to_numpy().astype(np.float32),
            weights=table["weight"].to_numpy().astype(np.float32),
            positives=table["is_positive"].to_numpy().astype(np.bool_),
        )
        # SGD visits rows in this order, so it is part of the result; the file promises it, a stable sort keeps it.
        return rows.take(np.argsort(rows.started_at_ms, kind="stable"))


@dataclass(frozen=True)
class Watched:
    """Every (user, video) pair that was ever met, once, with the time of the first meeting; all arrays (n,).

    Scrolled past is met: it holds far more pairs than the interactions, and a feed leaves out all of them.
    """

    user_ids: Ids
    video_ids: Ids
    first_met_ms: NDArray[np.int64]

    @classmethod
    def from_parquet(cls, path: Path) -> Self:
        """Read `watched.parquet`; raises `TrainingSetError` naming the file and the column."""
        path = Path(path)
        table = _read(path, ["user_id", "video_id", "first_met_at"])
        _refuse_nulls(table, ["first_met_at"], path.name)
        return cls(
            user_ids=_ids(table, "user_id", path.name),
            video_ids=_ids(table, "video_id", path.name),
            first_met_ms=_epoch_ms(table["first_met_at"]),
        )

    def before(self, time_ms: int) -> tuple[Ids, Ids]:
        """The users and videos of the pairs met before this time."""
        met = self.first_met_ms < time_ms
        return self.user_ids[met], self.video_ids[met]


@dataclass(frozen=True)
class Catalogue:
    """What is known of each video apart from its plays; unknown text is '', an unknown duration `UNKNOWN_MS`.

    The snapshot's counters (views, likes, trending) are left out on purpose: they were taken after the cut, so a
    holdout model that reads them has seen the test.
    """

    video_ids: Ids
    creator_ids: Ids
    categories: Ids
    languages: Ids
    durations_ms: NDArray[np.int64]

    def __post_init__(self) -> None:
        values, counts = np.unique(self.video_ids, return_counts=True)
        if (counts > 1).any():
            raise TrainingSetError(
                f"videos.parquet: video_id {str(values[counts.argmax()])!r} appears more than once"
            )

    def __len__(self) -> int:
        return len(self.video_ids)

    @classmethod
    def from_parquet(cls, path: Path) -> Self:
        """Read `videos.parquet`; raises `TrainingSetError` naming the file and the column."""
        path = Path(path)
        table = _read(path, ["video_id", "creator_id", "category", "language", "duration_ms"])
        return cls(
            video_ids=_ids(table, "video_id", path.name),
            creator_ids=_text(table, "creator_id"),
            categories=_text(table, "category"),
            languages=_text(table, "language"),
            durations_ms=pc.fill_null(table["duration_ms"].cast(pa.int64()), UNKNOWN_MS).to_numpy(),
        )


@dataclass(frozen=True)
class Encoded:
    """Interactions as matrix rows: `users[i]`, `videos[i]` index the sorted `user_ids`, `video_ids`.

    `video_ids` is the whole catalogue plus any video that was played but is not in it, so that every model of one
    training set ranks the same candidates.
    """

    interactions: Interactions
    user_ids: Ids
    video_ids: Ids
    users: Rows
    videos: Rows

    @classmethod
    def of(cls, interactions: Interactions, catalogue: Catalogue) -> Self:
        user_ids, users = np.unique(interactions.user_ids, return_inverse=True)
        video_ids = vocabulary(catalogue.video_ids, interactions.video_ids)
        return cls(
            interactions=interactions,
            user_ids=user_ids,
            video_ids=video_ids,
            users=users.astype(np.int64),
            videos=lookup(video_ids, interactions.video_ids),
        )
