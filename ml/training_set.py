"""The training-set folder: interactions, catalogue, people, pairs met, and the hash that says which one it was."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ml.dataset import (
    INTERACTIONS_FILE,
    USERS_FILE,
    VIDEOS_FILE,
    WATCHED_FILE,
    Catalogue,
    Interactions,
    Known,
    People,
    Watched,
)
from ml.errors import EmptyTrainingSetError


@dataclass(frozen=True)
class TrainingSet:
    """A folder's content; `sha256` is over the bytes of its parquet files."""

    interactions: Interactions
    catalogue: Catalogue
    people: People
    watched: Watched
    sha256: str

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises `TrainingSetError` naming the file and what is wrong with it, `EmptyTrainingSetError` for no rows."""
        directory = Path(directory)
        interactions = Interactions.from_parquet(directory / INTERACTIONS_FILE)
        if not len(interactions):
            raise EmptyTrainingSetError(f"{INTERACTIONS_FILE}: has no rows, there is nothing to train on")
        catalogue = Catalogue.from_parquet(directory / VIDEOS_FILE)
        watched = Watched.from_parquet(directory / WATCHED_FILE)
        people = People.from_parquet(directory / USERS_FILE)
        digest = hashlib.sha256()
        for name in (INTERACTIONS_FILE, VIDEOS_FILE, WATCHED_FILE, USERS_FILE):
            if name == USERS_FILE and not (directory / name).exists():
                continue  # a set made before there were profiles in it
            with (directory / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return cls(interactions, catalogue, people, watched, digest.hexdigest())

    def known(self, interactions: Interactions, as_of_ms: int | None = None) -> Known:
        """What there is to learn from these of its rows at `as_of_ms` (just after their newest end unless given)."""
        return Known.of(interactions, self.catalogue, self.people, self.watched, as_of_ms)
