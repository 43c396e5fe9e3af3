"""Training of the two-tower model: sampled softmax over in-batch and uniform negatives."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ml.config import TwoTowerConfig
from ml.dataset import Encoded, Known
from ml.examples import Examples
from ml.factors import FactorModel
from ml.features import log_prior, video_codes
from ml.fitting import Fitted, Progress, Validate, finite
from ml.towers import TwoTower, choose_device

ROWS_AT_ONCE = 4096


def fit(
    known: Known,
    config: TwoTowerConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Learn to tell the video a user watched with interest from others, given the user's history.

    Each positive is one example, told what was known when it started: the user's history until then and the
    popularity until then (`ml.examples`). The loss is `sampled_softmax`. The vectors of the model are made of
    everything known. The curve is the mean loss of each epoch. Raises `EmptyTrainingSetError` without a positive
    interaction.
    """
    data = Encoded.of(known.interactions, known.catalogue)
    examples = Examples.of(data, config)
    codes, sizes = video_codes(data, known.catalogue)
    prior = log_prior(data, config.popularity_half_life_days)
    with reproducible(seed, config.threads):
        device = choose_device(config.device)
        model = TwoTower(len(data.user_ids), sizes, config).to(device)
        tensors = Tensors(examples, codes, device)
        curve = _train(model, tensors, config, seed, progress)
        users, videos = _vectors(model, tensors, data)
        gain = float(model.gain.detach())
        state = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    return Fitted(
        FactorModel(
            kind="two-tower",
            user_ids=data.user_ids,
            video_ids=data.video_ids,
            user_factors=users / np.float32(config.temperature),
            video_factors=videos,
            user_bias=np.zeros(len(data.user_ids), dtype=np.float32),
            video_bias=(gain * prior).astype(np.float32),
        ),
        curve,
        state,
    )


class Tensors:
    """The examples and the tables of videos on the device; histories are looked up batch by batch."""

    def __init__(self, examples: Examples, codes: NDArray[np.int64], device: torch.device) -> None:
        self.device = device
        self.examples = examples
        self.users, self.videos = self.put(examples.users), self.put(examples.videos)
        self.strength = self.put(examples.strength)
        self.codes, self.priors = self.put(codes), self.put(examples.priors.table)
        counts = np.bincount(examples.videos, minlength=len(codes))
        self.share = self.put((counts / len(examples)).astype(np.float32))

    def put(self, array: NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _train(
    model: TwoTower, tensors: Tensors, config: TwoTowerConfig, seed: int, progress: Progress | None
) -> list[float]:
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    draws = torch.Generator().manual_seed(seed)  # on the CPU, so that every device sees the same examples
    n, m = len(tensors.users), len(tensors.codes)
    steps = max(1, round(n / config.batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=config.learning_rate, total_steps=steps * config.epochs
    )
    curve: list[float] = []
    for epoch in range(1, config.epochs + 1):
        model.train()
        total = 0.0
        for batch in torch.randperm(n, generator=draws).tensor_split(steps):
            others = torch.randint(m, (config.uniform_negatives,), generator=draws).to(tensors.device)
            loss = sampled_softmax(model, tensors, batch, others)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        curve.append(finite("two-tower", epoch, total / n))
        if progress:
            progress(epoch, config.epochs, curve[-1])
    return curve


def sampled_softmax(model: TwoTower, tensors: Tensors, batch: Tensor, others: Tensor) -> Tensor:
    """Cross-entropy of each example's video against the batch's other videos and `others`, weighted by strength.

    A sampled candidate stands for 1/E of its kind, E being how often the sampler is expected to draw it; so log E
    is taken off its logit (log-Q correction: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large
    corpus item recommendations"; mixed with uniform negatives: Yang et al. 2020). The candidates come from
    examples of any time, but in expectation the corrected loss is that of the softmax over the whole catalogue,
    which does not know when they were played. Candidates that are the example's own video again count as neither
    right nor wrong.
    """
    inputs = tensors.examples.inputs(batch.numpy())
    rows = batch.to(tensors.device)
    users, videos = tensors.users[rows], tensors.videos[rows]
    candidates = torch.cat([videos, others])
    u = model.user_vectors(users + 1, tensors.put(inputs.history), tensors.put(inputs.weights))
    v = model.video_vectors(tensors.codes[candidates])
    prior = tensors.priors[:, candidates][tensors.put(inputs.prior_rows)]
    expected = len(rows) * tensors.share[candidates] + len(others) / len(tensors.codes)
    logits = u @ v.T / model.temperature + model.gain * prior - torch.log(expected)
    labels = torch.arange(len(rows), device=rows.device)
    again = candidates[None, :] == videos[:, None]
    again[labels, labels] = False
    logits = logits.masked_fill(again, float("-inf"))
    losses = functional.cross_entropy(logits, labels, reduction="none")
    strength = tensors.strength[rows]
    return (losses * strength).sum() / strength.sum()


@torch.inference_mode()
def _vectors(
    model: TwoTower, tensors: Tensors, data: Encoded
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Every user's and every video's unit vector, in blocks, from all that is known."""
    model.eval()
    after_all = int(data.interactions.ended_at_ms.max()) + 1
    users = []
    for rows in torch.arange(len(data.user_ids)).split(ROWS_AT_ONCE):
        history, weights = tensors.examples.histories.before(rows.numpy(), np.full(len(rows), after_all))
        users.append(
            model.user_vectors(
                (rows + 1).to(tensors.device), tensors.put(history), tensors.put(weights)
            ).cpu()
        )
    videos = [model.video_vectors(codes).cpu() for codes in tensors.codes.split(ROWS_AT_ONCE)]
    return torch.cat(users).numpy(), torch.cat(videos).numpy()


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
