"""The MLflow run of a whole training: its judgement and environment, once, above the runs of its models."""

import json
from collections.abc import Mapping
from pathlib import Path

from serving.registry.access import client_of
from serving.registry.lineage import environment
from serving.registry.registry import DAGSTER_RUN_TAG
from serving.trainings import run as training_run
from serving.trainings.run import TAG_LIMIT, cut
from stack.settings import Settings

STAGE_TAG, STAGE = "stage", "training"
ENVIRONMENT_FILE = "environment.json"


def log_training(
    settings: Settings,
    *,
    experiment: str,
    run_name: str,
    dagster_run_id: str,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    artifacts: Mapping[str, Path] | None = None,
) -> str:
    """Log a run with `artifacts` (files or folders, kept under their key) and `environment.json`; returns its id.

    The same Dagster run gets the run that is there, if it was finished. Raises `RegistryUnavailableError`,
    `RegistryError`.
    """
    from mlflow.entities import Metric

    with client_of(settings) as client:
        experiment_id = training_run.experiment_id(client, experiment)
        # Filtered here as well: a quote in an id must not change the query.
        query = f"tags.{STAGE_TAG} = '{STAGE}' and attributes.status = 'FINISHED'"
        for run in client.search_runs([experiment_id], query, max_results=50):
            if run.data.tags.get(DAGSTER_RUN_TAG) == dagster_run_id:
                return str(run.info.run_id)
        labels = {**(tags or {}), STAGE_TAG: STAGE, DAGSTER_RUN_TAG: dagster_run_id}
        run_id = client.create_run(
            experiment_id,
            run_name=run_name,
            tags={**cut(labels, TAG_LIMIT), "mlflow.source.name": "reelgraph"},
        ).info.run_id
        try:
            for name, path in (artifacts or {}).items():
                training_run.log_artifact(client, run_id, name, path)
            client.log_text(run_id, json.dumps(dict(environment()), indent=2), ENVIRONMENT_FILE)
            if metrics:
                client.log_batch(run_id, metrics=[Metric(k, float(v), 0, 0) for k, v in metrics.items()])
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id)
        return str(run_id)
