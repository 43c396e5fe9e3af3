"""Where an interrupted training goes on from: one file, written whole or not at all."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from ml.errors import ModelFilesError

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training in `folder`: named after the `fingerprint` of its data and settings.

    So a training never goes on from the state of another: a file that another left there has another name, and one
    that was renamed is refused.
    """

    folder: Path
    fingerprint: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.fingerprint[:24]}.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write tensors, numbers, strings, lists and dicts; a crash leaves the file that was there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f".{self.path.name}.{uuid4().hex}"
        try:
            with fresh.open("wb") as file:
                torch.save({"format": FORMAT, "fingerprint": self.fingerprint, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The saved state, on the CPU, or None if there is none. Nothing is unpickled but tensors and plain values.

        Raises `ModelFilesError` for a damaged file and one of other data, settings or code.
        """
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            made_of = (state["format"], state["fingerprint"])
        except (
            Exception
        ) as error:  # torch raises RuntimeError, UnpicklingError, EOFError, KeyError ... for damage
            raise ModelFilesError(
                f"{self.path}: not a checkpoint; remove it to train anew ({error})"
            ) from error
        if made_of != (FORMAT, self.fingerprint):
            raise ModelFilesError(f"{self.path}: a checkpoint of other data, settings or code; remove it")
        return state

    def remove(self) -> None:
        """When the training has come to its end."""
        self.path.unlink(missing_ok=True)


def fingerprint(settings: Iterable[str], arrays: Iterable[NDArray]) -> str:
    """SHA-256 of all that decides how a training goes."""
    digest = hashlib.sha256()
    for text in settings:
        digest.update(text.encode() + b"\0")
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode() + b"\0")
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
