"""Which of several models is the better one, on the same users, with the evidence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ml.comparison import Pair, compare_all
from ml.costs import measure_costs
from ml.errors import MismatchedHoldoutError, NothingToJudgeError
from ml.evaluate import Evaluation, TestUsers, evaluate, rating_rmse
from ml.factors import FactorModel
from ml.files import replaced, write_json
from ml.ids import Ids
from ml.lists import Traits, gini, list_metrics
from ml.metrics import CUTOFFS, PRIMARY, Interval, PerUser, intervals
from ml.recommender import BASELINE
from ml.saved import load
from ml.slices import slices_of
from ml.split import Split, time_split
from ml.summaries import accuracy, ceilings, slice_facts, summary
from ml.training_set import TrainingSet
from ml.user_metrics import UserMetrics

JUDGEMENT_FILE = "judgement.json"
COSTS_FILE = "costs.json"

HAS_OWN_LIST_FOR_STRANGERS = (BASELINE, "hybrid")
"""The others' scores of somebody they never saw carry nothing: serving answers with the popularity list instead."""

LEVEL = 0.05

JUDGED_USERS = 100_000
"""More test users than this are judged by a sample: it shows a difference of half a percent, and each costs the scores
of the whole catalogue."""

TESTED = (
    "Each pair of models on NDCG@10 of the same test users: two-sided sign-flip permutation test of the mean paired "
    "difference (9,999 flips), Holm's correction over all pairs; intervals are 95% paired bootstrap over users. The "
    "models are taken as they are: other seeds or other weeks would train others, and that is not in the figures."
)


@dataclass(frozen=True)
class Judgement:
    """What `judgement.json` holds, but `costs`, which no two runs measure alike (`costs.json`).

    `metrics[kind][metric]`, each with its 95% interval, over `users` test users; `ceilings`: the most that any
    ranking could reach of precision and recall on this test; `coverage[kind]`: how much of the
    catalogue is in anybody's list and how unevenly (gini); `lists[kind]`: diversity, novelty, popularity (`ml.lists`);
    `ratings[kind]` for models of ratings (SVD). `slices[name]`: `about`, whether it is `of` users or videos, `users`
    and, unless there are none, `metrics`, `over_popularity` (kind minus popularity on the primary metric) and
    `detectable[kind]`, the difference to popularity that so many users could show.

    Users a model does not know are judged by the list they are served: the hybrid's own, for the others
    `strangers_ranked_by` "popularity" or, without a popularity model, the model's own "biases". `better` is the kind
    with the highest `ndcg_at_10`; popularity is the baseline and wins only if it is alone. `difference` is better
    minus `runner_up` (None if alone) and `over_popularity[kind]` kind minus popularity, both paired per user; `pairs`
    are the tests of every two kinds, `tested` says of what.
    """

    primary_metric: str
    better: str
    runner_up: str | None
    difference: Interval | None
    over_popularity: dict[str, Interval]
    pairs: list[Pair]
    tested: str
    metrics: dict[str, dict[str, Interval]]
    ceilings: dict[str, float]
    coverage: dict[str, dict[str, float]]
    lists: dict[str, dict[str, Interval]]
    ratings: dict[str, dict[str, Interval]]
    slices: dict[str, dict[str, Any]]
    users: int
    new_users: int
    test_rows: int
    straddling_rows: int
    strangers_ranked_by: str
    catalogue: int
    cut_ms: int
    training_set_sha256: str
    seed: int
    costs: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def distinguishable(self) -> bool:
        """Whether the better model's lead over the runner-up is more than noise: its paired interval lies above 0,
        and so it does among all the pairs that might have been picked (Holm's p-value)."""
        if self.difference is None or self.difference.low <= 0:
            return False
        return self.pair(self.better, str(self.runner_up)).p_adjusted < LEVEL

    def pair(self, one: str, other: str) -> Pair:
        """The test of two kinds, in whichever order; raises `KeyError`."""
        for pair in self.pairs:
            if {pair.better, pair.worse} == {one, other}:
                return pair
        raise KeyError(f"{one} and {other} were not compared")

    def reproducible(self) -> dict[str, Any]:
        """As JSON, without the costs."""
        return {name: value for name, value in asdict(self).items() if name != "costs"}


def judge(
    model_dirs: Mapping[str, Path], training_set_dir: Path, out_dir: Path, *, seed: int = 0
) -> Judgement:
    """Compare the holdout models under `model_dirs` (kind -> a folder `train` wrote) on the rows after their cut.

    They are judged as they would be served: videos a user met before the cut are no candidates, and users a model
    does not know get the popularity list (the hybrid: its own).

    Writes to `out_dir`: `judgement.json`, `costs.json`, `per_user.npz` (`ml.user_metrics`), the pictures and
    `report.html`. Raises `MismatchedHoldoutError` if the models saw another training set or cut, or rank other videos,
    `NothingToJudgeError` if no test user has anything relevant, `ModelFilesError`.
    """
    from ml.report import write_report

    if not model_dirs:
        raise NothingToJudgeError("no models were given")
    folders = {kind: Path(path) / "holdout" for kind, path in model_dirs.items()}
    data = TrainingSet.load(training_set_dir)
    split, video_ids = _same_holdout(folders, data)
    users = TestUsers.of(split, data.watched).some(JUDGED_USERS, seed)
    popularity = load(folders[BASELINE]) if BASELINE in folders else None

    evaluations: dict[str, Evaluation] = {}
    ratings: dict[str, dict[str, Interval]] = {}
    costs: dict[str, dict[str, float]] = {}
    for (
        kind,
        folder,
    ) in folders.items():  # one model in memory at a time: a hybrid is as large as all the others
        model = load(folder)
        own = kind in HAS_OWN_LIST_FOR_STRANGERS
        evaluations[kind] = evaluate(model, users, strangers=None if own else popularity)
        costs[kind] = measure_costs(model, folder, users, seed)
        if kind == "svd" and isinstance(model, FactorModel):
            ratings[kind] = rating_rmse(model, split, seed)

    traits = Traits.of(video_ids, data.catalogue, split.train, users.user_ids)
    of_lists = {kind: list_metrics(found.lists, traits) for kind, found in evaluations.items()}
    slices, sliced = slice_facts(
        evaluations, users, slices_of(users, split, data.catalogue, data.people), seed
    )
    judgement = Judgement(
        **_comparison({kind: found.per_user[PRIMARY] for kind, found in evaluations.items()}, seed),
        metrics=accuracy({kind: found.per_user for kind, found in evaluations.items()}, seed),
        ceilings=ceilings(users, video_ids),
        coverage={
            kind: found.coverage | {f"gini_at_{k}": gini(found.lists[:, :k], len(video_ids)) for k in CUTOFFS}
            for kind, found in evaluations.items()
        },
        lists=summary(of_lists, seed),
        ratings=ratings,
        slices=slices,
        users=len(users.user_ids),
        new_users=int(users.new.sum()),
        test_rows=len(split.test),
        straddling_rows=split.straddling,
        strangers_ranked_by=BASELINE if popularity else "biases",
        catalogue=len(video_ids),
        cut_ms=split.cut_ms,
        training_set_sha256=data.sha256,
        seed=seed,
        costs=costs,
    )
    per_user = {kind: found.per_user | of_lists[kind] for kind, found in evaluations.items()}
    with replaced(Path(out_dir)) as fresh:
        write_json(fresh / JUDGEMENT_FILE, judgement.reproducible())
        write_json(fresh / COSTS_FILE, costs)
        UserMetrics.of(users.user_ids, per_user, sliced).save(fresh)
        write_report(judgement, fresh)
    return judgement


def _same_holdout(folders: Mapping[str, Path], data: TrainingSet) -> tuple[Split, Ids]:
    """The split and the videos all the models were made with."""
    cuts: dict[str, int] = {}
    ranked: dict[str, Ids] = {}
    info: dict[str, Any] = {}
    for kind, folder in folders.items():
        model = load(folder)
        if model.kind != kind:
            raise MismatchedHoldoutError(f"the folder given for {kind} holds a {model.kind} model")
        if model.info.get("training_set_sha256") != data.sha256:
            raise MismatchedHoldoutError(f"{kind} was trained on another training set: train it again")
        cuts[kind], ranked[kind], info = model.info["cut_ms"], model.video_ids, model.info
    if len(set(cuts.values())) > 1:
        raise MismatchedHoldoutError(f"the models were cut at different times: {cuts}")
    split = time_split(data.interactions, info["params"]["test_fraction"])
    if split.cut_ms != info["cut_ms"]:
        raise MismatchedHoldoutError(
            f"the models were cut at {info['cut_ms']}, this split is at {split.cut_ms}"
        )
    first = next(iter(ranked))
    for kind, video_ids in ranked.items():
        if not np.array_equal(video_ids, ranked[first]):
            raise MismatchedHoldoutError(f"{kind} ranks other videos than {first}")
    return split, ranked[first]


def _comparison(primary: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    """The better kind, the runner-up, and the tests between them all."""
    contenders = [kind for kind in primary if kind != BASELINE] or [BASELINE]
    ranking = sorted(contenders, key=lambda kind: (-primary[kind].mean(), kind))
    differences: PerUser = {}
    if len(ranking) > 1:
        differences["runner_up"] = primary[ranking[0]] - primary[ranking[1]]
    if BASELINE in primary:
        differences |= {k: primary[k] - primary[BASELINE] for k in sorted(primary) if k != BASELINE}
    lead = intervals(differences, seed) if differences else {}
    return {
        "primary_metric": PRIMARY,
        "better": ranking[0],
        "runner_up": ranking[1] if len(ranking) > 1 else None,
        "difference": lead.pop("runner_up", None),
        "over_popularity": lead,
        "pairs": compare_all(primary, seed),
        "tested": TESTED,
    }
