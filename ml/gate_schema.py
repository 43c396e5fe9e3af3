"""Whether a model to be served is what the serving code reads and what the training set promises."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ml.dataset import INTERACTIONS_FILE, USERS_FILE, VIDEOS_FILE, WATCHED_FILE
from ml.errors import ModelFilesError
from ml.gate_checks import Check
from ml.ids import MISSING, lookup, vocabulary
from ml.recommender import FORMAT
from ml.saved import load
from ml.training_set import TrainingSet


def columns_hash(training_set_dir: Path) -> str:
    """sha256 over the names and types of the columns of a training set's files, whatever their order."""
    return hashlib.sha256(json.dumps(_schema(training_set_dir), sort_keys=True).encode()).hexdigest()


def column_names(training_set_dir: Path) -> list[str]:
    """`file: column` of every column of a training set's files, sorted."""
    schema = _schema(training_set_dir)
    return sorted(f"{file}: {name}" for file, columns in schema.items() for name, _ in columns)


def columns_check(now: Sequence[str], before: Sequence[str] | None) -> Check:
    """Every column the champion was trained on is still there; more are welcome. A champion that does not say which
    it had (of before they were written down) holds nobody back."""
    if before is None:
        says = f"{len(now)} columns; which the champion was trained on is not recorded"
        return Check("schema: columns", True, float(len(now)), None, says)
    lost, more = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    says = "the columns the champion was trained on"
    if lost:
        says = f"without columns the champion was trained on: {', '.join(lost)}"
    elif more:
        says += f", and {', '.join(more)}"
    return Check("schema: columns", not lost, float(len(lost)), 0.0, says)


def _schema(training_set_dir: Path) -> dict[str, list[tuple[str, str]]]:
    schema = {}
    for name in (INTERACTIONS_FILE, VIDEOS_FILE, WATCHED_FILE, USERS_FILE):
        path = Path(training_set_dir) / name
        if path.exists():
            schema[name] = sorted((column.name, str(column.type)) for column in pq.read_schema(path))
    return schema


def schema_checks(kind: str, model_dir: Path, data: TrainingSet) -> list[Check]:
    """Of the model to be served: this code reads it, it is of the kind, made of this training set, ranks its whole
    catalogue and knows nobody else."""
    try:
        model = load(model_dir)
    except ModelFilesError as error:
        return [Check("schema: readable", False, None, f"format {FORMAT}", f"cannot be read: {error}")]
    checks = [
        Check("schema: readable", True, model.form, None, f"format {FORMAT}, form {model.form}"),
        Check("schema: kind", model.kind == kind, model.kind, kind, f"the files hold a {model.kind} model"),
    ]
    made_of = str(model.info.get("training_set_sha256"))
    checks.append(
        Check(
            "schema: training set",
            made_of == data.sha256,
            made_of[:12],
            data.sha256[:12],
            f"trained on the training set {made_of[:12]}",
        )
    )
    catalogue = vocabulary(data.catalogue.video_ids, data.interactions.video_ids)
    same = np.array_equal(model.video_ids, catalogue)
    checks.append(
        Check(
            "schema: catalogue",
            same,
            float(len(model.video_ids)),
            float(len(catalogue)),
            "ranks the training set's catalogue"
            if same
            else "ranks another catalogue than the training set's",
        )
    )
    people = vocabulary(data.interactions.user_ids, data.people.user_ids, data.watched.user_ids)
    strangers = int((lookup(people, model.user_ids) == MISSING).sum())
    checks.append(
        Check(
            "schema: users", not strangers, float(strangers), 0.0, f"{strangers} users nobody else heard of"
        )
    )
    return checks
