"""What is known of videos and people as codes of embedding tables; the vocabularies travel with the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ml.ids import MISSING, Ids, lookup

if TYPE_CHECKING:  # it reads parquet files, which who only asks a model need not be able to
    from ml.dataset import Catalogue, People

UNKNOWN = 0  # code of every feature that stands for "not known", or not known when the model was trained

# Upper ends of the duration buckets, in seconds: short clips are split finely, long videos coarsely.
DURATION_EDGES_S = (5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
AGE_EDGES_YEARS = (13, 18, 25, 35, 45, 55, 65)
MAX_TAGS = 8  # of a video that are looked at

VIDEO_COLUMNS = ("creator", "category", "language", "duration")
PROFILE_COLUMNS = ("age", "gender", "language", "region", "device_type")


@dataclass(frozen=True)
class VideoFeatures:
    """`codes` (n, 4) as in `VIDEO_COLUMNS`, `tags` (n, MAX_TAGS) padded with 0, `content` (n, d): d may be 0."""

    codes: NDArray[np.int64]
    tags: NDArray[np.int64]
    content: NDArray[np.float32]


@dataclass(frozen=True)
class VideoSchema:
    """The creators, categories, languages and tags that a model knows, each sorted; code 0 is any other."""

    creators: Ids
    categories: Ids
    languages: Ids
    tags: Ids
    content_dim: int = 0

    @classmethod
    def of(cls, catalogue: "Catalogue", content_dim: int = 0) -> Self:
        tags = [tag for of_video in catalogue.tags for tag in of_video[:MAX_TAGS]]
        return cls(
            creators=_names(catalogue.creator_ids),
            categories=_names(catalogue.categories),
            languages=_names(catalogue.languages),
            tags=_names(np.asarray(tags, dtype=np.str_) if tags else np.empty(0, dtype="<U1")),
            content_dim=content_dim,
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of codes of each column of `VIDEO_COLUMNS`, then of tags."""
        vocabularies = (self.creators, self.categories, self.languages)
        return (*(len(names) + 1 for names in vocabularies), len(DURATION_EDGES_S) + 2, len(self.tags) + 1)

    def encode(
        self, catalogue: "Catalogue", video_ids: Ids, content: NDArray[np.float32] | None = None
    ) -> VideoFeatures:
        """The features of each of `video_ids`, nothing being known of those that are not in the catalogue.

        `content` (len(catalogue), content_dim) has a row for each video of the catalogue, in its order; without it
        the vectors are zero.
        """
        rows = catalogue.rows_of(video_ids)
        known = np.flatnonzero(rows != MISSING)
        found = rows[known]
        codes = np.zeros((len(video_ids), len(VIDEO_COLUMNS)), dtype=np.int64)
        codes[known, 0] = _codes(self.creators, catalogue.creator_ids[found])
        codes[known, 1] = _codes(self.categories, catalogue.categories[found])
        codes[known, 2] = _codes(self.languages, catalogue.languages[found])
        codes[known, 3] = duration_buckets(catalogue.durations_ms[found])
        vectors = np.zeros((len(video_ids), self.content_dim), dtype=np.float32)
        if content is not None and self.content_dim:
            vectors[known] = content[found]
        return VideoFeatures(codes, self._tag_codes(catalogue, known, found, len(video_ids)), vectors)

    def _tag_codes(self, catalogue: "Catalogue", known: NDArray, found: NDArray, n: int) -> NDArray[np.int64]:
        codes = np.zeros((n, MAX_TAGS), dtype=np.int64)
        lists = [catalogue.tags[row][:MAX_TAGS] for row in found]
        counts = np.fromiter(map(len, lists), np.int64, len(lists))
        if counts.sum():
            flat = np.asarray([tag for tags in lists for tag in tags], dtype=np.str_)
            places = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
            codes[np.repeat(known, counts), places] = _codes(self.tags, flat)
        return codes

    def arrays(self) -> dict[str, NDArray]:
        return {
            "creators": self.creators,
            "categories": self.categories,
            "languages": self.languages,
            "tags": self.tags,
        }


@dataclass(frozen=True)
class ProfileSchema:
    """The genders, languages, regions and devices that a model knows, each sorted; code 0 is any other."""

    genders: Ids
    languages: Ids
    regions: Ids
    device_types: Ids

    @classmethod
    def of(cls, people: "People") -> Self:
        columns = (people.genders, people.languages, people.regions, people.device_types)
        return cls(*map(_names, columns))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of codes of each column of `PROFILE_COLUMNS`."""
        named = (self.genders, self.languages, self.regions, self.device_types)
        return (len(AGE_EDGES_YEARS) + 2, *(len(names) + 1 for names in named))

    def encode(self, people: "People", user_ids: Ids) -> NDArray[np.int64]:
        """Codes (len(user_ids), 5) of each user's profile, all 0 for those without one."""
        rows = people.rows_of(user_ids)
        known = np.flatnonzero(rows != MISSING)
        found = rows[known]
        codes = np.zeros((len(user_ids), len(PROFILE_COLUMNS)), dtype=np.int64)
        ages = people.ages[found]
        codes[known, 0] = np.where(
            ages >= 0, np.searchsorted(AGE_EDGES_YEARS, ages, side="right") + 1, UNKNOWN
        )
        codes[known, 1] = _codes(self.genders, people.genders[found])
        codes[known, 2] = _codes(self.languages, people.languages[found])
        codes[known, 3] = _codes(self.regions, people.regions[found])
        codes[known, 4] = _codes(self.device_types, people.device_types[found])
        return codes


def duration_buckets(durations_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 for up to 5 s, then a code for each of `DURATION_EDGES_S`; 0 where the duration is not known."""
    edges_ms = np.asarray(DURATION_EDGES_S) * 1000
    return np.where(durations_ms > 0, np.searchsorted(edges_ms, durations_ms) + 1, UNKNOWN)


def restored_schema(settings: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> VideoSchema:
    """The schema that `VideoSchema.arrays` saved."""
    names = ("creators", "categories", "languages", "tags")
    return VideoSchema(**{name: arrays[name] for name in names}, content_dim=settings["content_dim"])


def _names(values: Ids) -> Ids:
    names = np.unique(values)
    return names[names != ""]


def _codes(names: Ids, values: Ids) -> NDArray[np.int64]:
    return lookup(names, values) + 1  # MISSING is -1: 0, unknown
