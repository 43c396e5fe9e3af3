"""The command line of `python -m ml.pipeline`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ml.errors import ModelError
from ml.recommender import KINDS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    training = commands.add_parser("train", help="fit one kind of model")
    training.add_argument("--kind", choices=KINDS, required=True)
    training.add_argument("--training-set", type=Path, required=True, metavar="DIR")
    training.add_argument("--out", type=Path, required=True, metavar="DIR")
    training.add_argument("--test-fraction", type=float, help="share of the newest rows held out")
    training.add_argument("--seed", type=int)
    training.add_argument("--parameters", type=Path, metavar="FILE", help="tuned parameters (JSON)")
    training.add_argument(
        "--two-tower-epochs",
        type=lambda text: int(text) if text else None,
        help="of the learning-rate schedule; as tuned, or the model's own, if not given or empty",
    )
    training.add_argument(
        "--part",
        action="append",
        default=[],
        metavar="KIND=DIR",
        dest="parts",
        help="for a hybrid: the other kinds' trained folders",
    )

    judging = commands.add_parser("judge", help="compare models on the rows they did not see")
    judging.add_argument("--model", action="append", required=True, metavar="KIND=DIR", dest="models")
    judging.add_argument("--training-set", type=Path, required=True, metavar="DIR")
    judging.add_argument("--out", type=Path, required=True, metavar="DIR")
    judging.add_argument("--seed", type=int, default=0, help="of the bootstrap behind the intervals")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 with one line on stderr for an error of ours, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.command == "train":
            _train(options, _folders(parser, "--part", options.parts))
        else:
            _judge(_folders(parser, "--model", options.models), options)
    except ModelError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _folders(parser: argparse.ArgumentParser, option: str, given: Sequence[str]) -> dict[str, Path]:
    dirs = dict(item.partition("=")[::2] for item in given)
    if set(dirs) - set(KINDS) or not all(dirs.values()):
        parser.error(f"{option} must be KIND=DIR, KIND one of {', '.join(KINDS)}")
    return {kind: Path(path) for kind, path in dirs.items()}


def _train(options: argparse.Namespace, parts: dict[str, Path]) -> None:
    from ml.pipeline import train
    from ml.tuning_parameters import load, merged

    said: dict = {"test_fraction": options.test_fraction, "seed": options.seed}
    if options.two_tower_epochs is not None:
        said["two_tower"] = {"epochs": options.two_tower_epochs}
    given = {name: value for name, value in said.items() if value is not None}
    tuned = load(options.parameters)

    def show(phase: str, epoch: int, epochs: int, loss: float) -> None:
        print(f"{options.kind} {phase}: epoch {epoch}/{epochs} loss {loss:.4f}", flush=True)

    config = merged(tuned, given)
    report = train(options.kind, options.training_set, options.out, config=config, progress=show, parts=parts)
    print(f"{options.kind}: {report.counts['rows']} rows, seconds {report.seconds}")


def _judge(model_dirs: dict[str, Path], options: argparse.Namespace) -> None:
    from ml.pipeline import judge

    judgement = judge(model_dirs, options.training_set, options.out, seed=options.seed)
    for kind, metrics in sorted(judgement.metrics.items()):
        best = metrics[judgement.primary_metric]
        print(f"{kind}: {judgement.primary_metric} {best.value:.4f} [{best.low:.4f}, {best.high:.4f}]")
    print(f"better: {judgement.better}")
