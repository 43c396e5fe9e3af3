"""The videos of a bundle as arrays: what similar-video scores need, and each video's JSON ready to send."""

import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from ml.arrays import read_arrays
from ml.ids import MISSING, Ids, find, lookup
from serving.errors import BundleInputError

if TYPE_CHECKING:
    import pyarrow as pa

ARRAYS_FILE = "catalogue.npz"
CARDS_FILE = "cards.bin"
PARQUET_FILE = "videos.parquet"

NO_CATEGORY = -1
NO_CREATOR = -1
# R1.2: a video of unknown length counts as a minute.
UNKNOWN_DURATION_S = 60.0

REQUIRED = (
    "video_id",
    "creator_id",
    "title",
    "description",
    "category",
    "tags",
    "duration_ms",
    "thumbnail_url",
)


@dataclass(frozen=True)
class Catalogue:
    """m videos in the order of their sorted ids; a video's place in it is its row.

    `categories` and `creators` (m,) int32 codes, `NO_CATEGORY` and `NO_CREATOR` if unknown; `durations_s` (m,)
    float32; `tag_starts` (m + 1,) and `tag_codes`: the distinct tags of row i are
    `tag_codes[tag_starts[i]:tag_starts[i + 1]]`; `tagged_starts`, `tagged_rows`: the same the other way round, the rows
    of each tag. `cards` holds row i's JSON fields (no braces) at `card_starts[i]:card_starts[i + 1]`, read from the
    file only when asked for; `cards_file` says which file that is, whatever is put in its place.
    """

    video_ids: Ids
    categories: NDArray[np.int32]
    creators: NDArray[np.int32]
    durations_s: NDArray[np.float32]
    tag_starts: NDArray[np.int64]
    tag_codes: NDArray[np.int32]
    tagged_starts: NDArray[np.int64]
    tagged_rows: NDArray[np.int32]
    card_starts: NDArray[np.int64]
    cards: "mmap.mmap"
    cards_file: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.video_ids)

    def row(self, video_id: str) -> int | None:
        found = find(self.video_ids, video_id)
        return None if found == MISSING else found

    def rows(self, video_ids: Iterable[str]) -> NDArray[np.int64]:
        """Rows of those ids that are in the catalogue."""
        found = lookup(self.video_ids, list(video_ids))
        return found[found != MISSING]

    def card(self, row: int) -> bytes:
        """`"video_id":...,"stream_url":...`: the fields of a video that do not depend on the request."""
        return self.cards[self.card_starts[row] : self.card_starts[row + 1]]

    def shared_tags(self, row: int) -> NDArray[np.int64]:
        """How many tags each video has in common with this one, shape (m,)."""
        mine = self.tag_codes[self.tag_starts[row] : self.tag_starts[row + 1]]
        lists = [self.tagged_rows[self.tagged_starts[t] : self.tagged_starts[t + 1]] for t in mine]
        return np.bincount(np.concatenate(lists) if lists else np.empty(0, np.int32), minlength=len(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `write` wrote; raises `OSError`, `KeyError` or `ValueError` if it is not that."""
        columns = read_arrays(folder / ARRAYS_FILE)
        # A bundle of before creators were kept: none is known.
        columns.setdefault("creators", np.full(len(columns["video_ids"]), NO_CREATOR, np.int32))
        codes, starts = columns["tag_codes"], columns["tag_starts"]
        n_tags = int(codes.max()) + 1 if len(codes) else 0
        owner = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
        order = np.argsort(codes, kind="stable")
        tagged_starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=n_tags))]).astype(
            np.int64
        )
        with (folder / CARDS_FILE).open("rb") as file:
            cards_file = _identity(os.fstat(file.fileno()))
            cards = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if columns["card_starts"][-1] != len(cards):
            raise ValueError(f"{CARDS_FILE} is {len(cards)} bytes long, must be {columns['card_starts'][-1]}")
        return cls(
            **columns,
            tagged_starts=tagged_starts,
            tagged_rows=owner[order],
            cards=cards,
            cards_file=cards_file,
        )

    def is_still_in(self, folder: Path) -> bool:
        """False if other cards lie in the folder than these are read from. True also if it cannot be said: these can
        still be read."""
        try:
            return _identity((folder / CARDS_FILE).stat()) == self.cards_file
        except OSError:
            return True


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def write(folder: Path, videos: "pa.Table") -> int:
    """Write the catalogue's files from a table with the columns `REQUIRED`; returns the number of videos.

    Raises `BundleInputError` naming the column, an empty table or a repeated id.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    missing = [name for name in REQUIRED if name not in videos.column_names]
    if missing:
        raise BundleInputError(f"videos: lacks column {', '.join(missing)}")
    if not videos.num_rows:
        raise BundleInputError("videos: the table is empty, nothing could be recommended")
    videos = videos.take(pc.sort_indices(videos["video_id"].cast("string")))
    ids = np.asarray(videos["video_id"].cast("string").to_pylist(), dtype=np.str_)
    if (repeated := ids[1:][ids[1:] == ids[:-1]]).size:
        raise BundleInputError(f"videos: video_id {str(repeated[0])!r} appears more than once")

    tags = [list(dict.fromkeys(t for t in row or () if t)) for row in videos["tags"].to_pylist()]
    tag_code = {tag: i for i, tag in enumerate(sorted({t for row in tags for t in row}))}
    categories = [c or None for c in videos["category"].to_pylist()]
    creators = [c or None for c in videos["creator_id"].cast("string").to_pylist()]
    durations = [None if d is None or d < 0 else d for d in videos["duration_ms"].to_pylist()]
    cards = _cards(videos, categories, tags, durations)

    np.savez(
        folder / ARRAYS_FILE,
        video_ids=ids,
        categories=_codes(categories, NO_CATEGORY),
        creators=_codes(creators, NO_CREATOR),
        durations_s=np.array([UNKNOWN_DURATION_S if d is None else d / 1000 for d in durations], np.float32),
        tag_starts=np.concatenate([[0], np.cumsum([len(row) for row in tags])]).astype(np.int64),
        tag_codes=np.array([tag_code[t] for row in tags for t in row], np.int32),
        card_starts=np.concatenate([[0], np.cumsum([len(card) for card in cards])]).astype(np.int64),
    )
    (folder / CARDS_FILE).write_bytes(b"".join(cards))
    pq.write_table(videos, folder / PARQUET_FILE)
    return len(ids)


def _codes(names: list[str | None], unknown: int) -> NDArray[np.int32]:
    """The place of each name among the sorted distinct ones; `unknown` for None."""
    code = {name: i for i, name in enumerate(sorted({n for n in names if n is not None}))}
    return np.array([unknown if name is None else code[name] for name in names], np.int32)


def stream_url(video_id: str) -> str:
    return f"/api/v1/videos/{quote(video_id, safe='')}/stream"


def _cards(
    videos: "pa.Table", categories: list[str | None], tags: list[list[str]], durations: list[int | None]
) -> list[bytes]:
    plain = (
        videos[name].to_pylist()
        for name in ("video_id", "title", "description", "creator_id", "thumbnail_url")
    )
    return [
        orjson.dumps(
            {
                "video_id": video_id,
                "title": title or "",
                "description": description or "",
                "category": category,
                "tags": row_tags,
                "creator_id": creator or None,
                "duration_ms": duration,
                "thumbnail_url": thumbnail or None,
                "stream_url": stream_url(video_id),
            }
        )[1:-1]
        for video_id, title, description, creator, thumbnail, category, row_tags, duration in zip(
            *plain, categories, tags, durations, strict=True
        )
    ]
