"""A search for hyper-parameters in MLflow: one run a study, a nested run for each of its trials.

What is in MLflow is a copy: the study itself lies elsewhere. Trials that could not be logged when they ended (MLflow
was down, the process was killed) are logged the next time the study is opened, each once.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.tuning_study import COMPLETE, FAILED, TrialRecord
from serving.registry.access import client_of
from serving.trainings import run as training_run
from serving.trainings.run import PARAM_LIMIT, TAG_LIMIT, cut
from stack.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STUDY_TAG, TRIAL_TAG, STATE_TAG = "study", "trial", "state"
_PARENT_TAG = "mlflow.parentRunId"
_OVER = ("FINISHED", "FAILED", "KILLED")
_STATUS = {COMPLETE: "FINISHED", FAILED: "FAILED"}  # the others were ended from outside: KILLED
_PAGE = 1000
_METRICS, _PARAMS = 1000, 100  # MLflow refuses more in one call


@dataclass(frozen=True)
class StudyLog:
    """Where a study is logged: `study` is its name and `metric` what its trials' values are."""

    settings: Settings
    experiment: str
    study: str
    metric: str

    def open(
        self,
        trials: Sequence[TrialRecord],
        *,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        training_set: Mapping[str, Any],
        note: str = "",
    ) -> str:
        """The id of the study's run, made unless it is there, running from now on, with all these trials in it.

        `training_set` as in `registry.register`. Raises `RegistryUnavailableError`, `RegistryError`.
        """
        with client_of(self.settings) as client:
            run = self._run(client)
            labels = cut({**tags, STUDY_TAG: self.study}, TAG_LIMIT)
            if run is None:
                made = client.create_run(
                    self._experiment_id(client),
                    run_name=run_name,
                    tags={**labels, "mlflow.note.content": note, "mlflow.source.name": "reelgraph"},
                )
                run_id = made.info.run_id
                training_run.log_training_set(client, run_id, training_set)
                training_run.log_params(client, run_id, params)
            else:
                run_id = run.info.run_id
                client.update_run(run_id, status="RUNNING")
                self._tag(client, run_id, labels)
            self._log_missing(client, run_id, trials)
        return run_id

    def trial(self, run_id: str, trial: TrialRecord) -> None:
        """Log a trial that has just ended. Raises as `open` does."""
        with client_of(self.settings) as client:
            self._log(client, run_id, trial)

    def close(
        self,
        run_id: str,
        trials: Sequence[TrialRecord] = (),
        *,
        interrupted: bool = False,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """End the study's run, with those of `trials` that are not there yet, and what came of it."""
        with client_of(self.settings) as client:
            self._log_missing(client, run_id, trials)
            self._put(client, run_id, int(time.time() * 1000), metrics=metrics or {}, curve={}, params={})
            self._tag(client, run_id, cut(tags or {}, TAG_LIMIT))
            client.set_terminated(run_id, status="KILLED" if interrupted else "FINISHED")

    def annotate(self, run_id: str, *, tags: Mapping[str, str], files: Sequence[Path] = ()) -> None:
        """Add what became known after the end."""
        with client_of(self.settings) as client:
            self._tag(client, run_id, cut(tags, TAG_LIMIT))
            for path in files:
                client.log_artifact(run_id, str(path))

    # --- one trial ------------------------------------------------------------------------------------------

    def _log_missing(self, client: "MlflowClient", run_id: str, trials: Sequence[TrialRecord]) -> None:
        if not trials:
            return
        there = set()
        for run in self._children(client, run_id):
            if run.info.status in _OVER:
                there.add(run.data.tags.get(TRIAL_TAG))
            else:  # logged halfway when its process was killed
                client.delete_run(run.info.run_id)
        for trial in trials:
            if str(trial.number) not in there:
                self._log(client, run_id, trial)

    def _log(self, client: "MlflowClient", run_id: str, trial: TrialRecord) -> None:
        tags = {
            STUDY_TAG: self.study,
            TRIAL_TAG: str(trial.number),
            STATE_TAG: trial.state,
            "step": str(trial.step),
            "reason": trial.reason,
            **{f"found_{name}": str(value) for name, value in trial.found.items()},
            _PARENT_TAG: run_id,
            "mlflow.source.name": "reelgraph",
        }
        child = client.create_run(
            self._experiment_id(client),
            start_time=trial.started_ms,
            run_name=f"trial {trial.number}",
            tags=cut({name: value for name, value in tags.items() if value != ""}, TAG_LIMIT),
        ).info.run_id
        metrics = {"seconds": trial.seconds}
        if trial.value is not None:
            metrics[self.metric] = trial.value
        self._put(client, child, trial.ended_ms, metrics=metrics, curve=trial.curve, params=trial.params)
        client.set_terminated(child, status=_STATUS.get(trial.state, "KILLED"), end_time=trial.ended_ms)

    def _put(
        self,
        client: "MlflowClient",
        run_id: str,
        now_ms: int,
        *,
        metrics: Mapping[str, float],
        curve: Mapping[int, float],
        params: Mapping[str, Any],
    ) -> None:
        """Metrics, the metric by epoch and parameters, in one call unless there are too many for one."""
        from mlflow.entities import Metric, Param

        points = [Metric(name, float(value), now_ms, 0) for name, value in metrics.items()]
        points += [Metric(f"{self.metric}_by_epoch", value, now_ms, epoch) for epoch, value in curve.items()]
        entries = [Param(name, value) for name, value in cut(params, PARAM_LIMIT).items()]
        while points or entries:
            client.log_batch(run_id, metrics=points[:_METRICS], params=entries[:_PARAMS])
            points, entries = points[_METRICS:], entries[_PARAMS:]

    # --- where it all is ------------------------------------------------------------------------------------

    def _tag(self, client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        if tags:
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _run(self, client: "MlflowClient") -> "Run | None":
        """The study's own run: the oldest that bears its name and is nobody's trial."""
        found = self._search(client, f"tags.{STUDY_TAG} = '{self.study}'", order_by=["start_time ASC"])
        return next((run for run in found if _PARENT_TAG not in run.data.tags), None)

    def _children(self, client: "MlflowClient", run_id: str) -> "Iterable[Run]":
        return self._search(client, f"tags.`{_PARENT_TAG}` = '{run_id}'")

    def _search(
        self, client: "MlflowClient", query: str, order_by: list[str] | None = None
    ) -> "Iterable[Run]":
        token = None
        while True:
            page = client.search_runs(
                [self._experiment_id(client)],
                query,
                max_results=_PAGE,
                order_by=order_by,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _experiment_id(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return client.create_experiment(self.experiment)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(self.experiment)  # made by another process meanwhile
                if found is None:
                    raise
        return found.experiment_id
