"""Every test user's metrics under every model, kept beside a judgement: what was compared, to compare again."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.errors import ModelFilesError
from ml.ids import Ids
from ml.metrics import PerUser

PER_USER_FILE = "per_user.npz"


@dataclass(frozen=True)
class UserMetrics:
    """`values` (kinds, metrics, users) and `sliced` (kinds, slices, users), the primary metric within each slice;
    float32, NaN where a user is not in the slice or the metric says nothing of them."""

    user_ids: Ids
    kinds: tuple[str, ...]
    metrics: tuple[str, ...]
    slices: tuple[str, ...]
    values: NDArray[np.float32]
    sliced: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        user_ids: Ids,
        per_user: Mapping[str, PerUser],
        sliced: Mapping[str, Mapping[str, NDArray[np.float64]]],
    ) -> Self:
        """From each kind's metrics and each kind's primary metric in each slice, (n,) each."""
        kinds = tuple(sorted(per_user))
        metrics, slices = tuple(sorted(per_user[kinds[0]])), tuple(sorted(sliced[kinds[0]]))
        n = len(user_ids)

        def stacked(columns: Mapping[str, Mapping[str, NDArray]], names: tuple[str, ...]) -> NDArray:
            rows = [columns[kind][name] for kind in kinds for name in names]
            return np.asarray(rows, dtype=np.float32).reshape(len(kinds), len(names), n)

        return cls(user_ids, kinds, metrics, slices, stacked(per_user, metrics), stacked(sliced, slices))

    def of_kind(self, kind: str) -> PerUser:
        """The metrics of one kind, (n,) each; raises `KeyError`."""
        row = _place(self.kinds, kind)
        return {name: self.values[row, i].astype(np.float64) for i, name in enumerate(self.metrics)}

    def in_slice(self, kind: str, name: str) -> NDArray[np.float64]:
        """The primary metric of one kind in one slice, (n,), NaN for who is not in it; raises `KeyError`."""
        return self.sliced[_place(self.kinds, kind), _place(self.slices, name)].astype(np.float64)

    def save(self, folder: Path) -> None:
        arrays = {name: np.asarray(value) for name, value in vars(self).items()}
        np.savez_compressed(Path(folder) / PER_USER_FILE, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote into a judgement's folder; raises `ModelFilesError`."""
        path = Path(folder) / PER_USER_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                names = {key: tuple(arrays[key].tolist()) for key in ("kinds", "metrics", "slices")}
                return cls(
                    user_ids=arrays["user_ids"], values=arrays["values"], sliced=arrays["sliced"], **names
                )
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ModelFilesError(f"{path}: not the metrics of a judgement ({error})") from error


def _place(names: tuple[str, ...], name: str) -> int:
    if name not in names:
        raise KeyError(f"{name!r} is none of {', '.join(names)}")
    return names.index(name)
