"""Which of several models is the better one, on the same users, with the evidence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.errors import MismatchedHoldoutError, NothingToJudgeError
from ml.evaluate import Evaluation, TestUsers, evaluate, rating_rmse
from ml.factors import FactorModel
from ml.files import replaced, write_json
from ml.metrics import Interval, PerUser, intervals
from ml.recommender import Recommender
from ml.saved import load
from ml.split import Split, time_split
from ml.training_set import TrainingSet

PRIMARY = "ndcg_at_10"
BASELINE = "popularity"


@dataclass(frozen=True)
class Judgement:
    """What `judgement.json` holds.

    `metrics[kind][metric]`, each with its 95% interval, over `users` test users; `coverage[kind]`; `ratings[kind]`
    for models of ratings (SVD). `slices[name]`: `users` and, unless there are none, `metrics` of `known_users`
    and `new_users` (no training row). Users a model does not know are judged by the list they are served,
    `strangers_ranked_by` "popularity"; without a popularity model, by the model's own "biases". `better` is the
    kind with the highest `ndcg_at_10`; popularity is the baseline and wins only if it is alone. `difference` is
    better minus `runner_up` (None if alone) and `over_popularity[kind]` kind minus popularity, both paired per user.
    """

    primary_metric: str
    better: str
    runner_up: str | None
    difference: Interval | None
    over_popularity: dict[str, Interval]
    metrics: dict[str, dict[str, Interval]]
    coverage: dict[str, dict[str, float]]
    ratings: dict[str, dict[str, Interval]]
    slices: dict[str, dict]
    users: int
    new_users: int
    test_rows: int
    straddling_rows: int
    strangers_ranked_by: str
    catalogue: int
    cut_ms: int
    training_set_sha256: str
    seed: int

    @property
    def distinguishable(self) -> bool:
        """Whether the better model's lead is more than noise: the paired interval lies above 0."""
        return self.difference is not None and self.difference.low > 0


def judge(
    model_dirs: Mapping[str, Path], training_set_dir: Path, out_dir: Path, *, seed: int = 0
) -> Judgement:
    """Compare the holdout models under `model_dirs` (kind -> a folder `train` wrote) on the rows after their cut.

    They are judged as they would be served: videos a user met before the cut are no candidates, and users a model
    does not know get the popularity list.

    Writes `judgement.json` and `judgement.png` to `out_dir`. Raises `MismatchedHoldoutError` if the models saw
    another training set or cut, `NothingToJudgeError` if no test user has anything relevant, `ModelFilesError`.
    """
    if not model_dirs:
        raise NothingToJudgeError("no models were given")
    models = {kind: load(Path(path) / "holdout") for kind, path in model_dirs.items()}
    data = TrainingSet.load(training_set_dir)
    split = _common_split(models, data)
    users = TestUsers.of(split, data.watched)
    strangers = models.get(BASELINE)
    evaluations = {kind: evaluate(model, users, strangers=strangers) for kind, model in models.items()}
    judgement = _compare(evaluations, models, split, users, data.sha256, seed)
    from ml.plots import metric_bars

    with replaced(Path(out_dir)) as fresh:
        write_json(fresh / "judgement.json", asdict(judgement))
        metric_bars(judgement, fresh / "judgement.png")
    return judgement


def _common_split(models: Mapping[str, Recommender], data: TrainingSet) -> Split:
    for kind, model in models.items():
        if model.kind != kind:
            raise MismatchedHoldoutError(f"the folder given for {kind} holds a {model.kind} model")
        if model.info.get("training_set_sha256") != data.sha256:
            raise MismatchedHoldoutError(f"{kind} was trained on another training set: train it again")
    cuts = {kind: model.info["cut_ms"] for kind, model in models.items()}
    if len(set(cuts.values())) > 1:
        raise MismatchedHoldoutError(f"the models were cut at different times: {cuts}")
    info = next(iter(models.values())).info
    split = time_split(data.interactions, info["params"]["test_fraction"])
    if split.cut_ms != info["cut_ms"]:
        raise MismatchedHoldoutError(
            f"the models were cut at {info['cut_ms']}, this split is at {split.cut_ms}"
        )
    return split


def _compare(
    evaluations: Mapping[str, Evaluation],
    models: Mapping[str, Recommender],
    split: Split,
    users: TestUsers,
    sha256: str,
    seed: int,
) -> Judgement:
    per_user = {kind: evaluation.per_user for kind, evaluation in evaluations.items()}
    primary = {kind: values[PRIMARY] for kind, values in per_user.items()}
    contenders = [kind for kind in primary if kind != BASELINE] or [BASELINE]
    ranking = sorted(contenders, key=lambda kind: (-primary[kind].mean(), kind))
    differences: PerUser = {}
    if len(ranking) > 1:
        differences["runner_up"] = primary[ranking[0]] - primary[ranking[1]]
    if BASELINE in primary:
        differences |= {k: primary[k] - primary[BASELINE] for k in sorted(primary) if k != BASELINE}
    lead = intervals(differences, seed) if differences else {}
    return Judgement(
        primary_metric=PRIMARY,
        better=ranking[0],
        runner_up=ranking[1] if len(ranking) > 1 else None,
        difference=lead.pop("runner_up", None),
        over_popularity=lead,
        metrics=_summary(per_user, np.ones(len(users.user_ids), dtype=np.bool_), seed),
        coverage={kind: evaluation.coverage for kind, evaluation in evaluations.items()},
        ratings={
            kind: rating_rmse(model, split, seed)
            for kind, model in models.items()
            if kind == "svd" and isinstance(model, FactorModel)
        },
        slices={
            "known_users": _slice(per_user, ~users.new, seed),
            "new_users": _slice(per_user, users.new, seed),
        },
        users=len(users.user_ids),
        new_users=int(users.new.sum()),
        test_rows=len(split.test),
        straddling_rows=split.straddling,
        strangers_ranked_by=BASELINE if BASELINE in models else "biases",
        catalogue=len(next(iter(models.values())).video_ids),
        cut_ms=split.cut_ms,
        training_set_sha256=sha256,
        seed=seed,
    )


def _slice(per_user: Mapping[str, PerUser], members: NDArray[np.bool_], seed: int) -> dict:
    count = int(members.sum())
    return {"users": count, "metrics": _summary(per_user, members, seed) if count else {}}


def _summary(
    per_user: Mapping[str, PerUser], members: NDArray[np.bool_], seed: int
) -> dict[str, dict[str, Interval]]:
    return {
        kind: intervals({name: column[members] for name, column in values.items()}, seed)
        for kind, values in per_user.items()
    }
