"""A model's videos beside the catalogue's rows: which is which, and what a user or a session is in its space."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.factors import FactorModel
from ml.ids import MISSING, find, lookup
from ml.next_video import EMA_CURRENT, EMA_OLD
from ml.recommender import Recommender
from serving.catalogue import Catalogue
from serving.pipeline.ann import VectorIndex

Vector = NDArray[np.float32]
Rows = NDArray[np.int64]

_LEAST_LENGTH = np.float32(1e-12)


@dataclass(frozen=True)
class Space:
    """`rows` (m,): the catalogue row of each of the model's videos, `MISSING` for one that is not in the catalogue;
    `columns` (catalogue size,): the other way round. `same`: the two orders are one. `index`: how to search without
    scoring all, None where scoring all is as quick. `lengths` (m,): of the videos' vectors, if it has them. `gone`: the
    model's columns of videos that left the catalogue."""

    kind: str
    model: Recommender
    rows: Rows
    columns: Rows
    same: bool
    index: VectorIndex | None = None
    lengths: Vector = field(default_factory=lambda: np.empty(0, np.float32))
    gone: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(
        cls, kind: str, model: Recommender, catalogue: Catalogue, index: VectorIndex | None = None
    ) -> "Space":
        rows = lookup(catalogue.video_ids, model.video_ids)
        columns = np.full(len(catalogue), MISSING, np.int64)
        known = rows != MISSING
        columns[rows[known]] = np.flatnonzero(known)
        same = len(rows) == len(columns) and bool((rows == np.arange(len(rows))).all())
        vectors = model.video_factors if isinstance(model, FactorModel) else np.empty((0, 1))
        lengths = np.linalg.norm(vectors, axis=1)
        gone = np.flatnonzero(~known)
        return cls(kind, model, rows, columns, same, index, lengths.astype(np.float32), gone)

    @property
    def factors(self) -> FactorModel | None:
        """The model, if its scores are dot products: only such a one places videos and sessions in one space."""
        return self.model if isinstance(self.model, FactorModel) else None

    def columns_of(self, rows: Rows) -> Rows:
        """The model's columns of those catalogue rows that it knows."""
        if self.same:
            return rows
        found = self.columns[rows]
        return found[found != MISSING]

    def long(self, user_id: str, recent: Sequence[int]) -> Vector | None:
        """The user's own vector, (d,); for someone the model does not know, that of the catalogue rows `recent`
        (newest first), folded in; None where nothing is known. Only of models with factors."""
        model = self.factors
        assert model is not None
        user = find(model.user_ids, user_id)
        if user != MISSING:
            return model.user_factors[user]
        columns = self.columns_of(np.asarray(recent[::-1], np.int64))
        if model.fold_in is None or not len(columns):
            return None
        alike = np.ones(len(columns), np.float32)
        return model.fold_in.user_vector(
            columns, alike, np.zeros(len(columns), np.float32), model.video_factors
        )

    def short(self, recent: Sequence[int]) -> Vector | None:
        """R5's short-term interest of the catalogue rows `recent` (newest first), (d,): the moving average of their
        unit vectors, short = 0.5 * old + 0.5 * current; None where the model knows none of them."""
        model = self.factors
        if model is None or not len(recent):
            return None
        columns = self.columns_of(np.asarray(recent, np.int64))
        if not len(columns):
            return None
        vectors, lengths = model.video_factors[columns], self.lengths[columns]
        told = lengths > _LEAST_LENGTH
        if not told.any():
            return None
        units = vectors[told] / lengths[told, None]
        weights = EMA_CURRENT * np.power(EMA_OLD, np.arange(len(units), dtype=np.float32))
        weights[-1] = EMA_OLD ** (len(units) - 1)  # the first video is all of it
        return (weights @ units).astype(np.float32)

    def units(self, rows: Rows) -> Vector:
        """The vectors of the videos in these catalogue rows, (len(rows), d), of length 1; zeros where the model knows
        nothing."""
        model = self.factors
        assert model is not None
        columns = rows if self.same else self.columns[rows]
        vectors = np.where((columns == MISSING)[:, None], np.float32(0), model.video_factors[columns])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)

    def scores(self, rows: Rows, vector: Vector) -> Vector:
        """The model's scores of the videos in these catalogue rows for somebody with this vector, (len(rows),), the
        user's own bias aside; the lowest of them where the model does not know the video."""
        model = self.factors
        assert model is not None
        columns = rows if self.same else self.columns[rows]
        found = model.video_factors[columns] @ vector + model.video_bias[columns]
        known = columns != MISSING
        if not known.all():
            found[~known] = found[known].min() if known.any() else 0
        return found

    def cosines(self, rows: Rows, vector: Vector) -> Vector:
        """How alike the videos in these catalogue rows are to `vector`, (len(rows),), between -1 and 1; 0 for those
        of which the model knows nothing."""
        model = self.factors
        assert model is not None
        columns = rows if self.same else self.columns[rows]
        vectors = model.video_factors[columns]
        lengths = self.lengths[columns] * np.sqrt(vector @ vector)
        found = vectors @ vector / np.maximum(lengths, _LEAST_LENGTH)
        if not self.same:
            found[columns == MISSING] = 0
        return found
