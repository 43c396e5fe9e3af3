"""Whether a model to be served is what the serving code reads and what the training set promises."""

import hashlib
import json
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
    schema = {}
    for name in (INTERACTIONS_FILE, VIDEOS_FILE, WATCHED_FILE, USERS_FILE):
        path = Path(training_set_dir) / name
        if path.exists():
            schema[name] = sorted((column.name, str(column.type)) for column in pq.read_schema(path))
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def schema_checks(
    kind: str, model_dir: Path, data: TrainingSet, columns: str, champion_columns: str | None
) -> list[Check]:
    """Of the model to be served: this code reads it, it is of the kind, made of this training set, ranks its whole
    catalogue and knows nobody else. And the training set has the columns the champion's had, where that is known."""
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
    if champion_columns is not None:
        same = champion_columns == columns
        says = "the columns the champion was trained on" if same else "other columns than the champion's"
        checks.append(Check("schema: columns", same, columns[:12], champion_columns[:12], says))
    return checks
