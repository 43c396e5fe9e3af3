"""Which videos each user has met already, as two arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ml.arrays import read_arrays
from ml.ids import MISSING, Ids, find, lookup
from serving.errors import BundleInputError

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "watched.npz"


@dataclass(frozen=True)
class Watched:
    """User i (of the sorted `user_ids`) has met the catalogue rows `rows[starts[i]:starts[i + 1]]` (ascending)."""

    user_ids: Ids
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]

    def of(self, user_id: str) -> NDArray[np.int32]:
        """Catalogue rows this user has met; empty for a user never seen."""
        user = find(self.user_ids, user_id)
        return self.rows[:0] if user == MISSING else self.rows[self.starts[user] : self.starts[user + 1]]

    @classmethod
    def from_table(cls, table: "pa.Table", video_ids: Ids) -> Self:
        """From columns `user_id`, `video_id` (repeats allowed); videos outside the catalogue are left out, since
        they cannot be recommended. Raises `BundleInputError` naming a missing column."""
        import pyarrow.compute as pc

        missing = [name for name in ("user_id", "video_id") if name not in table.column_names]
        if missing:
            raise BundleInputError(f"watched: lacks column {', '.join(missing)}")
        users, user_of = _encoded(pc.drop_null(table)["user_id"])
        videos, video_of = _encoded(pc.drop_null(table)["video_id"])
        row_of = lookup(video_ids, videos)[video_of] if len(videos) else np.empty(0, np.int64)
        kept = row_of != MISSING
        width = max(1, len(video_ids))
        pairs = np.unique(user_of[kept].astype(np.int64) * width + row_of[kept])
        counts = np.bincount(pairs // width, minlength=len(users))
        return cls(
            user_ids=users,
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            rows=(pairs % width).astype(np.int32),
        )

    def save(self, folder: Path) -> None:
        np.savez(folder / FILE, user_ids=self.user_ids, starts=self.starts, rows=self.rows)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(**read_arrays(folder / FILE))


def _encoded(column: "pa.ChunkedArray") -> tuple[Ids, NDArray[np.int64]]:
    """The sorted distinct values of a column, and each entry's place among them."""
    encoded = column.cast("string").combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    values = np.asarray(names, dtype=np.str_) if names else np.empty(0, dtype="<U1")
    order = np.argsort(values)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return values[order], place[encoded.indices.to_numpy(zero_copy_only=False)]
