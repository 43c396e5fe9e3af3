"""A sentence-transformers model from a local folder as the text encoder; nothing is ever downloaded."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.content_config import ContentConfig
from ml.content_encoder import TextEncoder
from ml.errors import ConfigurationError

BATCH = 64


class SentenceEncoder:
    """`all-MiniLM-L6-v2` (384-d) or another of its kind, on the CPU."""

    def __init__(self, path: Path) -> None:
        """Raises `ConfigurationError` when the folder or the package is not there or does not fit."""
        path = Path(path)
        if not path.is_dir():
            raise ConfigurationError(
                f"content.encoder_path: no folder at {path}; models are never downloaded"
            )
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the package is imported
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ConfigurationError(
                "content.encoder_path: needs the package sentence-transformers, which is not installed"
            ) from error
        try:
            self._model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"content.encoder_path: {path} holds no sentence-transformers model ({error})"
            ) from error
        self.name = path.name
        self.dim = int(self.encode([""]).shape[1])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def text_encoder_of(config: ContentConfig) -> TextEncoder | None:
    """The encoder that the config names, None for TF-IDF."""
    return SentenceEncoder(Path(config.encoder_path)) if config.encoder_path else None
