"""Searching a large catalogue without scoring all of it: a faiss index, tuned to the model's own users when packed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ml.factors import FactorModel

if TYPE_CHECKING:
    import faiss

Vector = NDArray[np.float32]

# Below this scoring all takes about as long as a search (2 cores: 1.3 ms at 100,000 videos of 64 dimensions).
FROM_VIDEOS = 200_000
TARGET_RECALL = 0.97
"""Of the true 100 best, measured on users of the model: above the promised .95, for the users that were not asked."""
CALIBRATION_USERS = 200
AT = 100
_PROBES = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_TRAINING_POINTS_PER_LIST = 40
INDEX_FILE, ABOUT_FILE = "index.faiss", "index.json"


@dataclass(frozen=True)
class IndexRecord:
    """How an index searches and how well: `recall` of the true `AT` best, of `users` users of the model."""

    lists: int
    probes: int
    recall: float
    users: int


@dataclass(frozen=True)
class VectorIndex:
    """Inverted lists over [factors, bias]: the best inner products with [query, 1] are the best scores."""

    index: "faiss.Index"
    record: IndexRecord

    def search(self, query: Vector, k: int) -> tuple[NDArray[np.int64], Vector]:
        """The model's columns of about the k best for `query` (d,), best first, and their scores without the user's
        bias; fewer where the lists that were looked into hold fewer."""
        asked = np.append(query, np.float32(1))[None, :]
        values, columns = self.index.search(asked, k)
        found = columns[0] >= 0
        return columns[0][found], values[0][found]

    def save(self, folder: Path) -> None:
        import faiss

        folder.mkdir(parents=True)
        faiss.write_index(self.index, str(folder / INDEX_FILE))
        (folder / ABOUT_FILE).write_text(json.dumps(asdict(self.record)) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> "VectorIndex | None":
        """The saved index, None if there is none. Raises `OSError`, `ValueError` for a broken one."""
        if not (folder / ABOUT_FILE).is_file():
            return None
        import faiss

        try:
            record = IndexRecord(**json.loads((folder / ABOUT_FILE).read_text("utf-8")))
        except TypeError as error:
            raise ValueError(f"{ABOUT_FILE}: {error}") from error
        try:
            index = faiss.read_index(str(folder / INDEX_FILE))
        except RuntimeError as error:
            raise ValueError(f"{INDEX_FILE}: {error}") from error
        index.nprobe = record.probes  # type: ignore[attr-defined]  # an IVF index, as `build` made it
        return cls(index, record)


def build(model: FactorModel, *, seed: int = 0, target: float = TARGET_RECALL) -> VectorIndex | None:
    """The index that searches fewest lists and still finds `target` of the true best; None if none of them does, or
    the model knows no user to measure with."""
    import faiss

    vectors = np.column_stack([model.video_factors, model.video_bias]).astype(np.float32)
    n_users = len(model.user_ids)
    if not n_users or not len(vectors):
        return None
    lists = min(int(2 ** np.round(np.log2(2 * np.sqrt(len(vectors))))), len(vectors))
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = seed + 1, 10
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(vectors), min(len(vectors), _TRAINING_POINTS_PER_LIST * lists), replace=False)
    index.train(vectors[np.sort(sample)])
    index.add(vectors)

    users = rng.choice(n_users, min(n_users, CALIBRATION_USERS), replace=False)
    asked = np.column_stack([model.user_factors[users], np.ones(len(users), np.float32)]).astype(np.float32)
    truth = _true_best(vectors, asked)
    for probes in _PROBES:
        if probes > lists // 4:
            break
        index.nprobe = probes
        found = index.search(asked, truth.shape[1])[1]
        recall = float(
            np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, truth, strict=True)])
        )
        if recall >= target:
            return VectorIndex(index, IndexRecord(lists, probes, round(recall, 4), len(users)))
    return None


def _true_best(vectors: Vector, asked: Vector) -> NDArray[np.int64]:
    """The columns of the exact `AT` best of each query, (n, AT)."""
    from ml.topk import rows_per_block, top_k

    k, step = min(AT, len(vectors)), rows_per_block(len(vectors))
    blocks = [top_k(asked[i : i + step] @ vectors.T, k)[0] for i in range(0, len(asked), step)]
    return np.concatenate(blocks)
