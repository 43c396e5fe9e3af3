"""The training loop of the two-tower model: batches, steps, epochs, early stopping, and going on after a kill."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.checkpoint import Checkpoint
from ml.distributed import World
from ml.errors import ConfigurationError
from ml.examples import Examples
from ml.features import VideoFeatures
from ml.fitting import Progress, finite
from ml.histories import History
from ml.tower_loss import Candidates, Inputs, SampledSoftmax, Sampler, columns_of
from ml.towers import Past, TwoTower, Videos
from ml.two_tower_config import TwoTowerConfig

KIND = "two-tower"
WARM_UP = 0.1  # share of the steps in which the learning rate rises
FIRST_RATE = 1 / 25  # of the highest
MIN_STEPS = 8  # in an epoch: small data sets get smaller batches


@dataclass
class Data:
    """What batches are made of, and where they go."""

    examples: Examples
    profiles: NDArray[np.int64]
    features: VideoFeatures
    device: torch.device

    def put(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(self.device, non_blocking=True)

    def videos(self, rows: NDArray[np.int64]) -> Videos:
        features = self.features
        return Videos(
            ids=self.put(rows + 1),
            codes=self.put(features.codes[rows]),
            tags=self.put(features.tags[rows]),
            content=self.put(features.content[rows]),
        )

    def past(self, users: NDArray[np.int64], history: History) -> Past:
        """Users (n,) as rows, with the history of each."""
        return Past(
            users=self.put(users + 1),
            profiles=self.put(self.profiles[users]),
            codes=self.put(history.codes),
            weights=self.put(history.weights),
            ages_days=self.put(history.ages_days),
        )

    def inputs(
        self, places: NDArray[np.int64], targets: tuple[NDArray, NDArray], candidates: Candidates
    ) -> Inputs:
        """This process's share `places` of a batch whose `targets` (rows and strengths) are given as a whole."""
        batch = self.examples.batch(places).told()
        snapshots = self.examples.snapshots
        return Inputs(
            past=self.past(batch.users, batch.history),
            videos=self.videos(candidates.rows),
            rows=self.put(candidates.rows),
            log_chance=self.put(candidates.log_chance),
            ages=self.put(snapshots.ages[:, candidates.rows].astype(np.int64)),
            snapshots=self.put(batch.snapshots),
            targets=self.put(columns_of(batch, candidates)),
            strength=self.put(batch.strength),
            total=max(float(targets[1].sum(dtype=np.float64)), 1e-12),
        )


@dataclass
class Trainer:
    """Everything that a step changes; `state` and `restore` are its checkpoint."""

    towers: TwoTower
    data: Data
    config: TwoTowerConfig
    seed: int
    world: World = field(default_factory=World)
    epoch: int = 0
    step: int = 0
    total: float = 0.0
    curve: list[float] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.config
        if config.precision == "float16" and self.data.device.type != "cuda":
            raise ConfigurationError("two_tower.precision: float16 needs a GPU; take bfloat16 or float32")
        if self.world.size > 1 and self.data.device.type == "cuda" and list(_lazy(self.towers)):
            raise ConfigurationError(
                "two_tower.lazy_rows: NCCL sums no sparse gradients; set it above all tables"
            )
        self.loss = self.world.wrapped(SampledSoftmax(self.towers))
        self.sampler = Sampler.of(self.data.examples, config, self.seed)
        self.scaler = torch.amp.GradScaler(self.data.device.type, enabled=config.precision == "float16")
        self.optimisers = optimisers(self.towers, config)
        moments = len(self.data.examples)
        self.steps = max(round(moments / config.batch_size), min(MIN_STEPS, moments))

    def run(
        self,
        progress: Progress | None,
        validate: Callable[[], float] | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Train to the last epoch, or until `patience` epochs in a row were no better by `validate` (higher is better);
        then the towers are those of the best epoch. Goes on from where `checkpoint` was left."""
        if checkpoint and (saved := checkpoint.load()):
            self.restore(saved)
        last = min(self.config.epochs, self.config.stop_after or self.config.epochs)
        while self.epoch < last and not self._stopped():
            self._epoch(checkpoint)
            if progress and self.world.leads:
                progress(self.epoch, last, self.curve[-1])
            if validate:
                self.towers.eval()
                self._keep_if_best(self.world.told_by_leader(validate() if self.world.leads else 0.0))
            if checkpoint and self.world.leads:
                checkpoint.save(self.state())
        if self.best:
            self.towers.load_state_dict(self.best["towers"])

    def _epoch(self, checkpoint: Checkpoint | None) -> None:
        self.towers.train()
        places = self.data.examples.epoch(self.seed, self.epoch)
        batches = np.array_split(places, self.steps)
        saved_at = time.monotonic()
        while self.step < self.steps:
            loss, examples = self.take_step(batches[self.step])
            self.total += loss * examples
            self.step += 1
            due = time.monotonic() - saved_at >= self.config.checkpoint_every_s
            if checkpoint and due and self.step < self.steps and self.world.leads:
                checkpoint.save(self.state())
                saved_at = time.monotonic()
        self.epoch += 1
        self.curve.append(
            finite(KIND, self.epoch, self.world.sum(self.total) / len(places) / self.world.size)
        )
        self.step, self.total = 0, 0.0

    def take_step(self, places: NDArray[np.int64]) -> tuple[float, int]:
        """One step on these moments of all processes together; the loss of this process's share, and their number."""
        inputs = self.load(places)
        rate = self.config.learning_rate * rate_at(
            (self.epoch * self.steps + self.step) / (self.config.epochs * self.steps)
        )
        with autocast(self.config.precision, self.data.device):
            loss = self.loss(inputs) * self.world.size  # DDP averages, the total strength is of all
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            self.scaler.step(optimiser)
        self.scaler.update()
        return float(loss.detach()), len(places)

    def load(self, places: NDArray[np.int64]) -> Inputs:
        """The inputs of this process's share of a batch."""
        targets = self.data.examples.targets_from(places)
        candidates = self.sampler.draw(targets[0][targets[1] > 0], self.epoch, self.step)
        return self.data.inputs(self.world.share(places), targets, candidates)

    def _keep_if_best(self, value: float) -> None:
        if not self.best or value > self.best["value"]:
            towers = {name: tensor.detach().clone() for name, tensor in self.towers.state_dict().items()}
            self.best = {"value": value, "epoch": self.epoch, "towers": towers}

    def _stopped(self) -> bool:
        return bool(self.best) and self.epoch - self.best["epoch"] >= self.config.patience

    def state(self) -> dict[str, Any]:
        """All that the next step depends on; the leader's, so the dropout of others differs after going on."""
        on_gpu = self.data.device.type == "cuda"
        return {
            "towers": self.towers.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state() if on_gpu else None,
            "epoch": self.epoch,
            "step": self.step,
            "total": self.total,
            "curve": list(self.curve),
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.towers.load_state_dict(state["towers"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if state["random_gpu"] is not None:
            torch.cuda.set_rng_state(state["random_gpu"])
        self.epoch, self.step, self.total = state["epoch"], state["step"], state["total"]
        self.curve, self.best = list(state["curve"]), state["best"]


def optimisers(towers: TwoTower, config: TwoTowerConfig) -> list[torch.optim.Optimizer]:
    """AdamW, without decay for biases and scalars; Adam for the rows that a batch touches of the large tables."""
    lazy = list(_lazy(towers))
    others = [p for p in towers.parameters() if all(p is not table for table in lazy)]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)]
    return [*found, torch.optim.SparseAdam(lazy, lr=config.learning_rate)] if lazy else found


def _lazy(towers: TwoTower) -> Iterator[Tensor]:
    """The large tables, whose gradients are sparse."""
    for module in towers.modules():
        if isinstance(module, torch.nn.Embedding) and module.sparse:
            yield module.weight


def rate_at(share: float) -> float:
    """The learning rate at this share of all steps, of the highest: up and down by half a cosine each (one cycle:
    Smith and Topin 2018, "Super-convergence")."""
    if share < WARM_UP:
        return FIRST_RATE + (1 - FIRST_RATE) * (1 - math.cos(math.pi * share / WARM_UP)) / 2
    return (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))) / 2


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Matrix products of half the width inside, unless the precision is float32."""
    if precision == "float32":
        yield
        return
    with torch.autocast(device.type, dtype=getattr(torch, precision)):
        yield
