"""Training of the two-tower model: sampled softmax over in-batch and uniform negatives."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ml.config import TwoTowerConfig
from ml.dataset import Catalogue, Encoded, Interactions
from ml.errors import EmptyTrainingSetError
from ml.factors import FactorModel
from ml.features import histories, log_prior, video_codes
from ml.fitting import Fitted, Progress, finite
from ml.towers import TwoTower, choose_device

ROWS_AT_ONCE = 4096


def fit(
    interactions: Interactions,
    catalogue: Catalogue,
    config: TwoTowerConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Learn to tell the video a user watched with interest from others, given the rest of the user's history.

    Each positive is one example; its user's history is pooled without the example's own video. The loss is
    `sampled_softmax`, weighted by the strength of the evidence. The curve is the mean loss of each epoch. Raises
    `EmptyTrainingSetError` without a positive interaction.
    """
    positives = np.flatnonzero(interactions.positives)
    if not len(positives):
        raise EmptyTrainingSetError("two-tower: there are no positive interactions")
    data = Encoded.of(interactions, catalogue)
    codes, sizes = video_codes(data, catalogue)
    history, weights = histories(data, config)
    prior = log_prior(data, config.popularity_half_life_days)
    with reproducible(seed, config.threads):
        device = choose_device(config.device)
        model = TwoTower(len(data.user_ids), sizes, config).to(device)
        tensors = _Tensors(data, positives, codes, history, weights, prior, device)
        curve = _train(model, tensors, config, seed, progress)
        users, videos = _vectors(model, tensors)
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


class _Tensors:
    """The training set on the device: examples as rows, tables indexed by user or by video."""

    def __init__(
        self,
        data: Encoded,
        positives: NDArray[np.int64],
        codes: NDArray[np.int64],
        history: NDArray[np.int64],
        weights: NDArray[np.float32],
        prior: NDArray[np.float32],
        device: torch.device,
    ) -> None:
        def put(array: NDArray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.users = put(data.users[positives])
        self.videos = put(data.videos[positives])
        strength = data.interactions.weights[positives]
        self.strength = put(strength / max(float(strength.mean()), 1e-9))
        self.codes, self.history, self.weights, self.prior = (
            put(codes),
            put(history),
            put(weights),
            put(prior),
        )
        counts = np.bincount(data.videos[positives], minlength=len(data.video_ids))
        self.share = put((counts / len(positives)).astype(np.float32))
        self.device = device


def _train(
    model: TwoTower, tensors: _Tensors, config: TwoTowerConfig, seed: int, progress: Progress | None
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
            rows = batch.to(tensors.device)
            others = torch.randint(m, (config.uniform_negatives,), generator=draws).to(tensors.device)
            loss = sampled_softmax(model, tensors, rows, others)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        curve.append(finite("two-tower", epoch, total / n))
        if progress:
            progress(epoch, config.epochs, curve[-1])
    return curve


def sampled_softmax(model: TwoTower, tensors: _Tensors, rows: Tensor, others: Tensor) -> Tensor:
    """Weighted cross-entropy of each example's video against the batch's other videos and `others`.

    A sampled candidate stands for 1/E of its kind, E being how often the sampler is expected to draw it; so log E
    is taken off its logit (log-Q correction: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large
    corpus item recommendations"; mixed with uniform negatives: Yang et al. 2020). Candidates that are the
    example's own video again count as neither right nor wrong.
    """
    users, videos = tensors.users[rows], tensors.videos[rows]
    candidates = torch.cat([videos, others])
    history, weights = tensors.history[users], tensors.weights[users]
    weights = weights.masked_fill(history == (videos + 1)[:, None], 0.0)
    u = model.user_vectors(users + 1, history, weights)
    v = model.video_vectors(tensors.codes[candidates])
    logits = u @ v.T / model.temperature + model.gain * tensors.prior[candidates]
    expected = len(rows) * tensors.share[candidates] + len(others) / len(tensors.codes)
    logits = logits - torch.log(expected)
    labels = torch.arange(len(rows), device=rows.device)
    again = candidates[None, :] == videos[:, None]
    again[labels, labels] = False
    logits = logits.masked_fill(again, float("-inf"))
    losses = functional.cross_entropy(logits, labels, reduction="none")
    strength = tensors.strength[rows]
    return (losses * strength).mean()


@torch.inference_mode()
def _vectors(model: TwoTower, tensors: _Tensors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Every user's and every video's unit vector, in blocks."""
    model.eval()
    users = [
        model.user_vectors(rows + 1, tensors.history[rows], tensors.weights[rows]).cpu()
        for rows in torch.arange(len(tensors.history), device=tensors.device).split(ROWS_AT_ONCE)
    ]
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
