"""The two-tower model: fitted on moments of users, saved as vectors and the towers' arrays."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml.checkpoint import Checkpoint, fingerprint
from ml.dataset import Encoded, Known
from ml.distributed import World
from ml.errors import TrainingSetError
from ml.examples import Examples
from ml.factors import FactorModel
from ml.features import ProfileSchema, VideoSchema
from ml.fitting import Fitted, Progress, Validate
from ml.ids import MISSING
from ml.tower_fold_in import TowerFoldIn
from ml.tower_priors import log_prior, video_ages
from ml.tower_training import KIND, Data, Trainer
from ml.towers import Past, Sizes, TwoTower, choose_device
from ml.two_tower_config import TwoTowerConfig

ROWS_AT_ONCE = 4096
GAINS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
"""Of the log of recent popularity, tried on the validation rows: what was recent in training was so long ago."""

Floats = NDArray[np.float32]


def fit(
    known: Known,
    config: TwoTowerConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
    content: Floats | None = None,
) -> Fitted:
    """Learn to tell the videos a user watched next from others, given what was known when they began.

    The loss is `ml.tower_loss.SampledSoftmax`, over moments drawn by `ml.examples`. The model's vectors are made of
    everything known. The curve is the mean loss of each epoch.

    With `validate` the training stops early and the gain of recent popularity is chosen, both by its value; what was
    chosen is `Fitted.found`, settings with which another fit needs no validation. With `checkpoint` (a folder) a killed
    training goes on where it was; on a CPU the result is the same to the last bit. Under torchrun (`ml.distributed`)
    each process takes its share of every batch. `content` (len(catalogue), d) are vectors of the catalogue's videos,
    such as `ml.content.embeddings` makes.

    Raises `EmptyTrainingSetError` without a positive interaction, `DivergedError`, and `ModelFilesError` for a
    checkpoint that is damaged or another's.
    """
    source = Prepared(known, config, content)
    with reproducible(seed, config.threads):
        device = choose_device(config.device)
        towers = TwoTower(source.sizes, config).to(device)
        data = source.data_on(device)
        trainer = Trainer(towers, data, config, seed, World.current())
        file = Checkpoint(checkpoint, source.fingerprint(seed)) if checkpoint else None

        def value(gain: float = config.popularity_gain) -> float:
            return validate(source.model(data, towers, gain)) if validate else 0.0

        trainer.run(progress, value if validate else None, file)
        towers.eval()
        found: dict[str, Any] = {}
        gain = config.popularity_gain
        if validate:
            gain = trainer.world.told_by_leader(max(GAINS, key=value) if trainer.world.leads else 0.0)
            found = {"stop_after": trainer.best["epoch"], "popularity_gain": gain}
        model = source.model(data, towers, gain)
        state = _numpy_state(towers)
    if file and trainer.world.leads:
        file.remove()
    return Fitted(model, trainer.curve, state, found)


class Prepared:
    """All that is made of the data before training, and what the towers become at its end."""

    def __init__(self, known: Known, config: TwoTowerConfig, content: Floats | None = None) -> None:
        self.known, self.config = known, config
        self.data = Encoded.of(known.interactions, known.catalogue)
        rows = known.catalogue.rows_of(self.data.video_ids)
        durations_ms = _of_rows(known.catalogue.durations_ms, rows)
        self.uploaded_ms = _of_rows(known.catalogue.upload_ms, rows)
        self.examples = Examples.of(self.data, config, durations_ms, self.uploaded_ms)
        if content is not None and len(content) != len(known.catalogue):
            raise TrainingSetError(f"content: {len(content)} vectors for {len(known.catalogue)} videos")
        self.schema = VideoSchema.of(known.catalogue, 0 if content is None else content.shape[1])
        self.features = self.schema.encode(known.catalogue, self.data.video_ids, content)
        profiles = ProfileSchema.of(known.people)
        self.profiles = profiles.encode(known.people, self.data.user_ids)
        self.sizes = Sizes(
            users=len(self.data.user_ids),
            videos=len(self.data.video_ids),
            video_columns=self.schema.sizes,
            profile_columns=profiles.sizes,
            content=self.schema.content_dim,
        )

    def data_on(self, device: torch.device) -> Data:
        """What batches are made of."""
        return Data(self.examples, self.profiles, self.features, device)

    def fingerprint(self, seed: int) -> str:
        """Of the settings, the data and torch's version."""
        rows, features = self.data.interactions, self.features
        arrays = (
            *(self.data.user_ids, self.data.video_ids, self.data.users, self.data.videos),
            *(rows.started_at_ms, rows.ended_at_ms, rows.weights, rows.positives),
            *(features.codes, features.tags, features.content, self.profiles, self.uploaded_ms),
        )
        threads = f"{seed} {World.current().size}"
        return fingerprint((self.config.model_dump_json(), threads, torch.__version__), arrays)

    @torch.inference_mode()
    def model(self, data: Data, towers: TwoTower, gain: float) -> FactorModel:
        """Every user's and every video's vector, from all that is known."""
        state = _numpy_state(towers)
        n_users, n_videos = self.sizes.users, self.sizes.videos
        users = np.empty((n_users, self.config.dim), dtype=np.float32)
        videos = np.empty((n_videos, self.config.dim), dtype=np.float32)
        for rows in _blocks(n_users):
            users[rows] = towers.user_vectors(self._now(data, rows)).cpu().numpy()
        for rows in _blocks(n_videos):
            videos[rows] = towers.video_vectors(data.videos(rows)).cpu().numpy()
        users *= np.exp(state["log_scale"])
        return FactorModel(
            kind=KIND,
            user_ids=self.data.user_ids,
            video_ids=self.data.video_ids,
            user_factors=users,
            video_factors=videos,
            user_bias=np.zeros(n_users, dtype=np.float32),
            video_bias=self._bias(state, gain),
            fold_in=TowerFoldIn.of(
                state,
                self.schema,
                half_life_days=self.config.history_half_life_days,
                min_weight=self.config.history_min_weight,
                length=self.config.history_length,
            ),
        )

    def _now(self, data: Data, rows: NDArray[np.int64]) -> Past:
        history = self.examples.histories.before(rows, np.full(len(rows), self.known.as_of_ms))
        return data.past(rows, history)

    def _bias(self, state: dict[str, NDArray], gain: float) -> Floats:
        """The part of the score that all users share: as learned, and recent popularity."""
        now_ms = self.known.as_of_ms
        recent = log_prior(self.data, now_ms, self.config.popularity_half_life_days)
        ages = video_ages(self.uploaded_ms, np.asarray([now_ms]))[0]
        return (state["bias"] + state["age"][ages] + gain * recent).astype(np.float32)


def _of_rows(column: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(rows == MISSING, -1, column[rows] if len(column) else -1)


def _blocks(n: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, ROWS_AT_ONCE):
        yield np.arange(start, min(start + ROWS_AT_ONCE, n))


def _numpy_state(towers: TwoTower) -> dict[str, NDArray]:
    return {name: value.detach().cpu().numpy().copy() for name, value in towers.state_dict().items()}


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Fixed torch seed and thread count inside, the caller's state afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
