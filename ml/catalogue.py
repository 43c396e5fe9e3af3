"""What is known of videos and people apart from what was watched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml import parquet
from ml.errors import TrainingSetError
from ml.ids import MISSING, Ids, Rows, as_ids, lookup
from ml.parquet import UNKNOWN_MS

VIDEOS_FILE = "videos.parquet"
USERS_FILE = "users.parquet"


@dataclass(frozen=True)
class Catalogue:
    """What is known of each video apart from its plays; unknown text is '', an unknown number `UNKNOWN_MS`.

    The snapshot's counters (views, likes, trending) are left out on purpose: they were taken after the cut, so a
    holdout model that reads them has seen the test. All columns are (n,); `tags` hold a tuple a video, `upload_ms`
    is epoch milliseconds UTC.
    """

    video_ids: Ids
    creator_ids: Ids
    categories: Ids
    languages: Ids
    durations_ms: NDArray[np.int64]
    upload_ms: NDArray[np.int64]
    titles: tuple[str, ...]
    descriptions: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        _refuse_repeats(self.video_ids, VIDEOS_FILE, "video_id")
        lengths = {name: len(value) for name, value in vars(self).items()}
        if len(set(lengths.values())) > 1:
            raise TrainingSetError(f"{VIDEOS_FILE}: columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.video_ids)

    @classmethod
    def of(
        cls,
        video_ids: Sequence[str] | Ids,
        *,
        creator_ids: Sequence[str] | Ids | None = None,
        categories: Sequence[str] | Ids | None = None,
        languages: Sequence[str] | Ids | None = None,
        durations_ms: Sequence[int] | NDArray[np.int64] | None = None,
        upload_ms: Sequence[int] | NDArray[np.int64] | None = None,
        titles: Sequence[str] | None = None,
        descriptions: Sequence[str] | None = None,
        tags: Sequence[Sequence[str]] | None = None,
    ) -> Self:
        """From the columns that are known; the others are unknown for every video."""
        n = len(video_ids)

        def text(values: Sequence[str] | Ids | None) -> Ids:
            return np.full(n, "", dtype="<U1") if values is None else as_ids(values)

        def numbers(values: Sequence[int] | NDArray[np.int64] | None) -> NDArray[np.int64]:
            return np.full(n, UNKNOWN_MS, dtype=np.int64) if values is None else np.asarray(values, np.int64)

        return cls(
            video_ids=as_ids(video_ids),
            creator_ids=text(creator_ids),
            categories=text(categories),
            languages=text(languages),
            durations_ms=numbers(durations_ms),
            upload_ms=numbers(upload_ms),
            titles=tuple(titles) if titles is not None else ("",) * n,
            descriptions=tuple(descriptions) if descriptions is not None else ("",) * n,
            tags=tuple(map(tuple, tags)) if tags is not None else ((),) * n,
        )

    @classmethod
    def from_parquet(cls, path: Path) -> Self:
        """Read `videos.parquet`; raises `TrainingSetError` naming the file and the column."""
        path = Path(path)
        needed = ["video_id", "creator_id", "category", "language", "duration_ms"]
        table = parquet.read_columns(path, needed, ["title", "description", "tags", "upload_time"])
        uploaded = "upload_time" in table.column_names
        return cls.of(
            parquet.ids(table, "video_id", path.name),
            creator_ids=parquet.text(table, "creator_id"),
            categories=parquet.text(table, "category"),
            languages=parquet.text(table, "language"),
            durations_ms=parquet.whole_numbers(table, "duration_ms"),
            upload_ms=parquet.epoch_ms(table["upload_time"]) if uploaded else None,
            titles=parquet.long_text(table, "title"),
            descriptions=parquet.long_text(table, "description"),
            tags=parquet.text_lists(table, "tags"),
        )

    def rows_of(self, video_ids: Ids) -> Rows:
        """Row of each id in this catalogue, `MISSING` where it is not there; the catalogue may be in any order."""
        return _rows(self.video_ids, video_ids)


@dataclass(frozen=True)
class People:
    """What is known of each user apart from what they did; unknown text is '', an unknown age `UNKNOWN_MS`. (n,) each.

    Only what hardly changes: scores and averages of the profile (engagement, watch time a day) are of today, so they
    know the test period.
    """

    user_ids: Ids
    ages: NDArray[np.int64]
    genders: Ids
    languages: Ids
    regions: Ids
    device_types: Ids

    def __post_init__(self) -> None:
        _refuse_repeats(self.user_ids, USERS_FILE, "user_id")

    def __len__(self) -> int:
        return len(self.user_ids)

    @classmethod
    def nobody(cls) -> Self:
        """No profiles are known."""
        nothing = np.empty(0, dtype="<U1")
        return cls(nothing, np.empty(0, np.int64), nothing, nothing, nothing, nothing)

    @classmethod
    def from_parquet(cls, path: Path) -> Self:
        """Read `users.parquet`; raises `TrainingSetError`. Sets from before there was such a file have no profiles."""
        path = Path(path)
        if not path.exists():
            return cls.nobody()
        table = parquet.read_columns(path, ["user_id", "age", "gender", "language", "region", "device_type"])
        return cls(
            user_ids=parquet.ids(table, "user_id", path.name),
            ages=parquet.whole_numbers(table, "age"),
            genders=parquet.text(table, "gender"),
            languages=parquet.text(table, "language"),
            regions=parquet.text(table, "region"),
            device_types=parquet.text(table, "device_type"),
        )

    def rows_of(self, user_ids: Ids) -> Rows:
        """Row of each id among these people, `MISSING` where it is not there; they may be in any order."""
        return _rows(self.user_ids, user_ids)


def _rows(ids: Ids, wanted: Ids) -> Rows:
    order = np.argsort(ids)
    found = lookup(ids[order], wanted)
    return np.where(found == MISSING, MISSING, order[found] if len(order) else MISSING)


def _refuse_repeats(ids: Ids, file: str, column: str) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise TrainingSetError(f"{file}: {column} {str(values[counts.argmax()])!r} appears more than once")
