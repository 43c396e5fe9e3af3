"""What models are trained on: interactions, pairs met, the catalogue, the people; and what of it was known when."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml import parquet
from ml.catalogue import USERS_FILE, VIDEOS_FILE, Catalogue, People
from ml.errors import TrainingSetError
from ml.ids import Ids, Rows, lookup, vocabulary
from ml.numbering import numbered
from ml.parquet import UNKNOWN_MS

__all__ = [
    "INTERACTIONS_FILE",
    "UNKNOWN_MS",
    "USERS_FILE",
    "VIDEOS_FILE",
    "WATCHED_FILE",
    "Catalogue",
    "Encoded",
    "Interactions",
    "Known",
    "People",
    "Watched",
]

INTERACTIONS_FILE = "interactions.parquet"
WATCHED_FILE = "watched.parquet"


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
        table = parquet.read_columns(path, ["user_id", "video_id", *values])
        parquet.refuse_nulls(table, values, path.name)
        rows = cls(
            user_ids=parquet.ids(table, "user_id", path.name),
            video_ids=parquet.ids(table, "video_id", path.name),
            started_at_ms=parquet.epoch_ms(table["started_at"]),
            ended_at_ms=parquet.epoch_ms(table["ended_at"]),
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
    def nothing(cls) -> Self:
        return cls(np.empty(0, dtype="<U1"), np.empty(0, dtype="<U1"), np.empty(0, dtype=np.int64))

    @classmethod
    def from_parquet(cls, path: Path) -> Self:
        """Read `watched.parquet`; raises `TrainingSetError` naming the file and the column."""
        path = Path(path)
        table = parquet.read_columns(path, ["user_id", "video_id", "first_met_at"])
        parquet.refuse_nulls(table, ["first_met_at"], path.name)
        return cls(
            user_ids=parquet.ids(table, "user_id", path.name),
            video_ids=parquet.ids(table, "video_id", path.name),
            first_met_ms=parquet.epoch_ms(table["first_met_at"]),
        )

    def before(self, time_ms: int) -> tuple[Ids, Ids]:
        """The users and videos of the pairs met before this time."""
        met = self.first_met_ms < time_ms
        return self.user_ids[met], self.video_ids[met]


@dataclass(frozen=True)
class Known:
    """All that a model may learn from, as it was known at `as_of_ms` (epoch ms): the one argument of every `fit`.

    `interactions` had ended by then, `watched` were met before; the catalogue and the profiles have no history, they
    are as the training set has them. Videos uploaded later are candidates all the same: what is judged is the whole
    catalogue.
    """

    interactions: Interactions
    catalogue: Catalogue
    as_of_ms: int
    people: People = field(default_factory=People.nobody)
    watched: Watched = field(default_factory=Watched.nothing)

    @classmethod
    def of(
        cls,
        interactions: Interactions,
        catalogue: Catalogue,
        people: People | None = None,
        watched: Watched | None = None,
        as_of_ms: int | None = None,
    ) -> Self:
        """`as_of_ms` unless given: just after the newest end of a row. Pairs met later than that are left out."""
        if as_of_ms is None:
            as_of_ms = int(interactions.ended_at_ms.max()) + 1 if len(interactions) else 0
        watched = watched or Watched.nothing()
        met = watched.first_met_ms < as_of_ms
        return cls(
            interactions=interactions,
            catalogue=catalogue,
            as_of_ms=as_of_ms,
            people=people or People.nobody(),
            watched=Watched(watched.user_ids[met], watched.video_ids[met], watched.first_met_ms[met]),
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
        user_ids, users = numbered(interactions.user_ids)
        played, plays = numbered(interactions.video_ids)
        video_ids = vocabulary(catalogue.video_ids, played)
        return cls(
            interactions=interactions,
            user_ids=user_ids,
            video_ids=video_ids,
            users=users,
            videos=lookup(video_ids, played)[plays],
        )
