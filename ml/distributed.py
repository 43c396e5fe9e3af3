"""Several processes that train one model, each on its share of every batch: `torchrun -m ml.distributed`."""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ml.ids import Rows


@dataclass(frozen=True)
class World:
    """This process among those that train together; one of one when training alone.

    All of them hold all the data, and draw each batch and its candidates alike: the negatives and the log-Q correction
    are those of the whole batch, on however many processes. So the loss and its gradient are those of one process but
    for the order of sums; what differs is the dropout, which each process draws for its own examples.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """The process group that is set up, if one is."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is the process that saves and validates."""
        return self.rank == 0

    def share(self, places: Rows) -> Rows:
        """This process's part of a batch; the parts differ by one example at most and may be empty."""
        return np.array_split(places, self.size)[self.rank]

    def wrapped(self, loss: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        return loss if self.size == 1 else DistributedDataParallel(loss, broadcast_buffers=False)

    def sum(self, value: float) -> float:
        """The sum of every process's value."""
        if self.size == 1:
            return value
        values: list[float] = [0.0] * self.size
        distributed.all_gather_object(values, value)
        return float(sum(values))

    def told_by_leader(self, value: float) -> float:
        """The leader's value, on every process."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def process_group() -> Iterator[World]:
    """The processes that torchrun started, as long as the block lasts: NCCL with a GPU each, gloo without."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    gpu = torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield World.current()
    finally:
        distributed.destroy_process_group()


def main(arguments: list[str] | None = None) -> int:
    """Fit a two-tower on all rows of a training-set folder and save it; the leader writes."""
    from ml.config import TrainConfig
    from ml.training_set import TrainingSet
    from ml.two_tower import fit

    parser = argparse.ArgumentParser(prog="ml.distributed", description=main.__doc__)
    parser.add_argument("training_set", type=Path)
    parser.add_argument("out", type=Path, help="folder of the model")
    parser.add_argument("--config", type=Path, help="JSON with fields of TrainConfig")
    parser.add_argument("--checkpoint", type=Path, help="folder to go on from when killed")
    options = parser.parse_args(arguments)
    config = TrainConfig.of(json.loads(options.config.read_text("utf-8")) if options.config else None)
    data = TrainingSet.load(options.training_set)
    with process_group() as world:
        fitted = fit(
            data.known(data.interactions), config.two_tower, seed=config.seed, checkpoint=options.checkpoint
        )
        if world.leads:
            fitted.model.save(options.out)
        world.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
