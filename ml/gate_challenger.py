"""Which of a run's kinds challenges the champion: chosen on validation rows, so that the test rows only judge it."""

from collections.abc import Mapping
from pathlib import Path

from ml.errors import NothingToJudgeError
from ml.evaluate import evaluate
from ml.gate_recipe import Recipe
from ml.judgement import HAS_OWN_LIST_FOR_STRANGERS
from ml.metrics import PRIMARY
from ml.phases import VALIDATION, Phases
from ml.recommender import BASELINE
from ml.saved import load
from ml.training_set import TrainingSet

SAMPLE = 3000
"""Users looked at: the choice need not be sure, it is tested afterwards. A point of NDCG@10 is seen by as many."""


def validation_scores(
    model_dirs: Mapping[str, Path], training_set_dir: Path, *, sample: int = SAMPLE, seed: int = 0
) -> dict[str, float]:
    """NDCG@10 of each kind's validation model on what `sample` users did between the inner cut and the cut.

    Picking the best of several kinds by the rows that then test it would take luck for skill. A hybrid's few weights
    and the epochs of a two-tower were chosen on these rows too: a small advantage here, none in the test.
    Where nobody found anything new there, none can be preferred: only popularity is told, if it is among them. Raises
    `ModelFilesError`.
    """
    data = TrainingSet.load(training_set_dir)
    params = Recipe.of_run(next(iter(model_dirs)), model_dirs).params
    phases = Phases.of(data, params["test_fraction"], params["validation_fraction"])
    try:
        users = phases.validation_users().some(sample, seed)
    except NothingToJudgeError:
        return {BASELINE: 0.0} if BASELINE in model_dirs else dict.fromkeys(model_dirs, 0.0)
    popularity = load(Path(model_dirs[BASELINE]) / VALIDATION) if BASELINE in model_dirs else None
    scores = {}
    for kind, folder in model_dirs.items():  # one model in memory at a time
        strangers = None if kind in HAS_OWN_LIST_FOR_STRANGERS else popularity
        found = evaluate(load(Path(folder) / VALIDATION), users, strangers=strangers)
        scores[kind] = float(found.per_user[PRIMARY].mean())
    return scores


def challenger_of(scores: Mapping[str, float]) -> str:
    """The best kind; popularity only if it is alone. Equal ones: the first by name."""
    contenders = [kind for kind in scores if kind != BASELINE] or [BASELINE]
    return min(contenders, key=lambda kind: (-scores[kind], kind))
