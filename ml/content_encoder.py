"""Turns what is known of a video into a vector: TF-IDF and truncated SVD, or a sentence encoder for the text."""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ml.content_config import ContentConfig
from ml.content_tokens import FIELDS, text_of, tokens
from ml.dataset import Catalogue
from ml.errors import ConfigurationError, ModelFilesError
from ml.ids import Rows
from ml.recommender import check_array, check_ids

FORMAT = 1
ARRAYS = ("vocabulary", "idf", "projection", "centre")
SEED = 0  # of the sample and the SVD: vectors of one catalogue and config are always the same
BATCH = 20_000  # videos that are encoded at once
CENTRE_VIDEOS = 10_000  # that the mean is taken of
NO_LENGTH = 1e-4  # what is shorter is rounding, not a direction
NEGLIGIBLE = 1e-5  # singular values below this share of the largest are noise of the arithmetic

Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """Makes vectors of texts; what `sentence-transformers` does, and all that is asked of it."""

    name: str
    dim: int

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(len(texts), dim) float32."""
        ...


@dataclass(frozen=True)
class ContentEncoder:
    """All that it takes to embed a video, also one that came later, without fitting again.

    `vocabulary` (v,) are sorted tokens, `idf` (v,), `projection` (v, config.dim); `field_weights` as in `FieldWeights`.
    A vector is the video's weighted TF-IDF row times `projection`, scaled to length 1, less `centre` (d,), scaled
    again. With a `text_encoder` the text is left out of the vocabulary and its vector stands before that of the
    metadata, so d = config.dim + the text encoder's.

    `centre` is the mean of the videos, each counting once and once more for every play. Without taking it away all are
    alike, by what most of them share, and the mean of what somebody watched points to the crowd (Mu and Viswanath
    2018, "All-but-the-top"). Chosen on KuaiRand with the known period's end held out (2022-04-27 to -30, 10,824
    users), R@100 of popularity plus a tenth of content: without a centre .2151, catalogue's mean .2161, this .2190
    (popularity alone .2086). Nothing else made a clear difference: dim 32 to 400, the weights of the fields, components
    divided by the square root of their singular values.
    """

    vocabulary: NDArray[np.str_]
    idf: NDArray[np.float32]
    projection: Vectors
    centre: Vectors
    field_weights: Mapping[str, float]
    text_encoder: TextEncoder | None = None

    @classmethod
    def fit(
        cls,
        catalogue: Catalogue,
        config: ContentConfig,
        text_encoder: TextEncoder | None = None,
        plays: NDArray[np.float64] | None = None,
    ) -> Self:
        """Learn vocabulary, idf = ln((1 + n) / (1 + videos with the token)) + 1 and components of the catalogue.

        TF-IDF as scikit-learn's with sublinear tf, but each field is scaled to its weight: a long description must
        not drown one creator. Components are the right singular vectors (Deerwester et al. 1990, "Indexing by latent
        semantic analysis"), signs fixed so that the largest entry is positive. `plays`
        (n,) of the catalogue's videos move the centre to what is watched.
        """
        weights = config.weights.model_dump()
        rows = _sample(len(catalogue), config.fit_videos)
        counted = Counter[str]()
        for row in rows:
            counted.update(tokens(catalogue, row).keys())
        frequent = [
            (token, n)
            for token, n in counted.items()
            if n >= config.min_videos and _weight(token, weights, text_encoder) > 0
        ]
        frequent.sort(key=lambda found: (-found[1], found[0]))
        kept = sorted(frequent[: config.max_words])
        n_videos = np.asarray([n for _, n in kept], dtype=np.float64)
        encoder = cls(
            vocabulary=np.asarray([token for token, _ in kept], dtype=np.str_),
            idf=(np.log((1 + len(rows)) / (1 + n_videos)) + 1).astype(np.float32),
            projection=np.zeros((len(kept), config.dim), dtype=np.float32),
            centre=np.zeros(config.dim + (text_encoder.dim if text_encoder else 0), dtype=np.float32),
            field_weights=weights,
            text_encoder=text_encoder,
        )
        encoder.projection[:] = encoder._components(catalogue, rows, config.dim)
        if len(rows):
            some = rows[_sample(len(rows), CENTRE_VIDEOS)]
            counts = np.ones(len(some)) if plays is None else 1 + plays[some]
            encoder.centre[:] = counts @ encoder._uncentred(catalogue, some) / counts.sum()
        return encoder

    def _components(self, catalogue: Catalogue, rows: Rows, dim: int) -> Vectors:
        """(v, dim); zero columns where the rows have fewer components."""
        from sklearn.utils.extmath import randomized_svd

        components = np.zeros((len(self.vocabulary), dim), dtype=np.float32)
        rank = min(dim, len(self.vocabulary), len(rows))
        if rank:
            table = sparse.vstack(list(self._tables(catalogue, rows)), format="csr")
            _, values, right = randomized_svd(table, n_components=rank, random_state=SEED, flip_sign=False)
            real = values > NEGLIGIBLE * values[0]
            values, right = values[real], right[real]
            largest = right[np.arange(len(right)), np.abs(right).argmax(axis=1)]
            components[:, : len(values)] = (right * np.sign(largest)[:, None]).T
        return components

    @property
    def dim(self) -> int:
        return len(self.centre)

    def encode(self, catalogue: Catalogue) -> Vectors:
        """Vectors of length 1 of the catalogue's videos, (n, dim); zeros where nothing known is in the vocabulary."""
        vectors = self._uncentred(catalogue, np.arange(len(catalogue)))
        known = vectors.any(axis=1)
        vectors[known] -= self.centre
        return scaled_to_one(vectors)

    def _uncentred(self, catalogue: Catalogue, rows: Rows) -> Vectors:
        vectors = np.zeros((len(rows), self.dim), dtype=np.float32)
        text_dim = self.dim - self.projection.shape[1]
        for start, table in zip(range(0, len(rows), BATCH), self._tables(catalogue, rows), strict=True):
            batch = slice(start, start + BATCH)
            vectors[batch, text_dim:] = scaled_to_one(table @ self.projection)
            if self.text_encoder:
                metadata = [weight for field, weight in self.field_weights.items() if field != "text"]
                vectors[batch, text_dim:] *= np.float32(np.linalg.norm(metadata))
                texts = [text_of(catalogue, int(row)) for row in rows[batch]]
                vectors[batch, :text_dim] = self._of_texts(texts)
        return scaled_to_one(vectors)

    def _of_texts(self, texts: list[str]) -> Vectors:
        assert self.text_encoder is not None
        vectors = scaled_to_one(np.asarray(self.text_encoder.encode(texts), dtype=np.float32))
        said = np.asarray([bool(text) for text in texts])  # an encoder has a vector for the empty text, too
        vectors[~said] = 0
        return vectors * np.float32(self.field_weights["text"])

    def _tables(self, catalogue: Catalogue, rows: Rows) -> Iterator[sparse.csr_matrix]:
        """Weighted TF-IDF of the rows, (BATCH, v) at a time, each row of length 1 or 0."""
        columns = {str(token): column for column, token in enumerate(self.vocabulary)}
        fields = np.asarray([FIELDS.index(token.partition(":")[0]) for token in columns], dtype=np.int64)
        weights = np.asarray([self.field_weights[field] for field in FIELDS])
        for start in range(0, len(rows), BATCH):
            indices: list[int] = []
            counts: list[int] = []
            ends = [0]
            for row in rows[start : start + BATCH]:
                known = {columns[t]: n for t, n in tokens(catalogue, int(row)).items() if t in columns}
                indices.extend(sorted(known))
                counts.extend(known[column] for column in sorted(known))
                ends.append(len(indices))
            column = np.asarray(indices, dtype=np.int64)
            values = (1 + np.log(np.asarray(counts, dtype=np.float64))) * self.idf[column]
            row_of = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
            part = row_of * len(FIELDS) + fields[column]
            lengths = np.sqrt(np.bincount(part, values**2, minlength=1))
            values *= weights[fields[column]] / lengths[part]
            lengths = np.sqrt(np.bincount(row_of, values**2, minlength=1))
            values /= lengths[row_of]
            shape = (len(ends) - 1, len(self.vocabulary))
            yield sparse.csr_matrix((values.astype(np.float32), column, ends), shape=shape)

    # --- files ----------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray]:
        """Everything but the text encoder itself, as arrays that need no pickle; settings are JSON in one of them."""
        about: dict[str, Any] = {"format": FORMAT, "field_weights": dict(self.field_weights)}
        if self.text_encoder:
            about["text_encoder"] = {"name": self.text_encoder.name, "dim": self.text_encoder.dim}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return {**arrays, "about": np.asarray(json.dumps(about, sort_keys=True))}

    def save(self, path: Path) -> None:
        """Write `arrays` into one .npz file."""
        with Path(path).open("wb") as file:
            np.savez(file, allow_pickle=False, **self.arrays())

    @classmethod
    def load(cls, path: Path, text_encoder: TextEncoder | None = None) -> Self:
        """What `save` wrote; raises `ModelFilesError` if it is damaged, `ConfigurationError` if it was fitted with a
        text encoder and another or none is given."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in (*ARRAYS, "about")}
            about = json.loads(str(arrays.pop("about")))
            if about["format"] != FORMAT:
                raise ModelFilesError(f"{path}: format {about['format']}, this code reads {FORMAT}")
            wanted = about.get("text_encoder")
            weights = {field: float(about["field_weights"][field]) for field in FIELDS}
        except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ModelFilesError(f"{path}: not a saved content encoder ({error})") from error
        _check(arrays, wanted["dim"] if wanted else 0)
        given = {"name": text_encoder.name, "dim": text_encoder.dim} if text_encoder else None
        if wanted != given:
            raise ConfigurationError(
                f"content.encoder_path: fitted with text encoder {wanted}, given {given}"
            )
        return cls(**arrays, field_weights=weights, text_encoder=text_encoder)


def _check(arrays: Mapping[str, NDArray], text_dim: int) -> None:
    words, projection = arrays["vocabulary"], arrays["projection"]
    check_ids(vocabulary=words)
    check_array("idf", arrays["idf"], (len(words),))
    check_array("projection", projection, (len(words), projection.shape[-1]))
    check_array("centre", arrays["centre"], (text_dim + projection.shape[-1],))


def scaled_to_one(vectors: Vectors) -> Vectors:
    """Each row scaled to length 1; what has no length becomes zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > NO_LENGTH)


def _sample(n: int, at_most: int) -> Rows:
    """Rows of the catalogue in order: all, or a random sample without repeats."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(SEED).choice(n, at_most, replace=False))


def _weight(token: str, weights: Mapping[str, float], text_encoder: TextEncoder | None) -> float:
    field = token.partition(":")[0]
    return 0.0 if field == "text" and text_encoder else weights[field]
