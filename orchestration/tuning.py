"""Runs the search of `ml.tuning` for an asset: progress in Dagster's log, trials in MLflow, winners in DVC."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import MetadataValue

from orchestration.code_versions import code_version
from orchestration.metadata import markdown_table
from orchestration.records import Record, TrainingSet
from orchestration.training import refuse_failed_validation, training_config
from stack.settings import Settings

if TYPE_CHECKING:
    from ml.config import TrainConfig
    from ml.tuning import Tuning
    from ml.tuning_search import About, Outcome
    from ml.tuning_study import TrialRecord
    from serving.trials import StudyLog
    from stack.data_versions import DataVersion

EXPERIMENT = "tuning"

FIXED = ("svd",)
"""Not tuned unless named: the contract sets SVD's parameters, and the search is for rankings, not for ratings."""


class TunedParameters(Record):
    """The tuned parameters on disk, a fragment of `ml.config.TrainConfig`, and their version in DVC."""

    path: Path
    dvc_hash: str
    replaced: list[str]
    """The kinds whose parameters this run replaced."""
    training_set_hash: str


def studies_dir(settings: Settings) -> Path:
    """The journals of the studies: state to go on from, not a result."""
    return settings.home / "tuning"


def present_config(settings: Settings) -> "TrainConfig":
    """The parameters that a training would use now: the settings' over the tuned over the defaults."""
    from ml.config import TrainConfig
    from ml.tuning_parameters import PARAMETERS_FILE, load, merged

    tuned = load(settings.parameters_dir / PARAMETERS_FILE)
    return TrainConfig.of(merged(tuned, training_config(settings)))


def tune_parameters(
    context: dg.AssetExecutionContext,
    settings: Settings,
    training_set: TrainingSet,
    *,
    minutes: float,
    kinds: Sequence[str],
) -> dg.Output[TunedParameters]:
    """Search, then write and track `<home>/parameters`; replaced only where a winner was better beyond noise."""
    from ml import training_set as training_sets
    from ml.tuning import tune
    from ml.tuning_parameters import PARAMETERS_FILE
    from ml.tuning_space import SPACES

    refuse_failed_validation(context.instance)
    trials = MlflowTrials(context, settings, training_set)
    tuning = tune(
        training_sets.TrainingSet.load(training_set.path),
        present_config(settings),
        studies_dir(settings),
        minutes=minutes,
        kinds=list(kinds) or [kind for kind in SPACES if kind not in FIXED],
        code=code_version("ml"),
        say=context.log.info,
        listener=trials,
    )
    version = write(settings, tuning, context.run_id)
    trials.annotate(tuning, version, settings.parameters_dir)
    record = TunedParameters(
        path=settings.parameters_dir / PARAMETERS_FILE,
        dvc_hash=version.hash,
        replaced=tuning.replaced,
        training_set_hash=training_set.dvc_hash,
    )
    return dg.Output(
        record,
        data_version=dg.DataVersion(version.hash),
        metadata={
            "path": MetadataValue.path(str(record.path)),
            "dvc hash": version.hash,
            "in the remote": version.pushed,
            "training set": training_set.dvc_hash,
            "replaced": ", ".join(tuning.replaced) or "nothing",
            "parameters": MetadataValue.json(_content(record.path)),
            "kinds": markdown_table([row(kind, found) for kind, found in tuning.outcomes.items()]),
            **{
                f"MLflow run of {kind}": MetadataValue.url(url)
                for kind, run_id in trials.runs.items()
                if (url := trials.url(run_id))
            },
        },
    )


def write(settings: Settings, tuning: "Tuning", dagster_run_id: str) -> "DataVersion":
    """The winners into `<home>/parameters`, whole or not at all, and into DVC. The file is there from the first run on,
    even if it says nothing; what nobody beat stays, to the byte, and so does its version."""
    from ml.tuning_parameters import PARAMETERS_FILE, ensure, load, load_evidence, save
    from stack.data_versions import track

    folder = settings.parameters_dir
    ensure(folder)
    if tuning.replaced:
        before = load(folder / PARAMETERS_FILE)
        save(folder, tuning.fragment(before), tuning.evidence(load_evidence(folder)))
    return track(settings, folder, provenance={"dagster_run_id": dagster_run_id})


def row(kind: str, outcome: "Outcome") -> dict[str, object]:
    """What came of a kind, for the table that the operator sees."""
    states = [trial.state for trial in outcome.trials]
    verdict, best = outcome.verdict, outcome.best
    return {
        "kind": kind,
        "trials": ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)),
        "present": outcome.present_value if outcome.present_value is not None else "",
        "best": best.value if best is not None and best.value is not None else "",
        "lead on others": f"{verdict.difference.value:+.4f}" if verdict else "",
        "bounds": f"{verdict.difference.low:+.4f} .. {verdict.difference.high:+.4f}" if verdict else "",
        "replaced": "yes" if outcome.replaced else "no",
    }


class MlflowTrials:
    """Writes each study and its trials to MLflow. Without MLflow the search goes on; what is missing there is logged
    the next time the study is opened."""

    def __init__(
        self, context: dg.AssetExecutionContext, settings: Settings, training_set: TrainingSet
    ) -> None:
        self._context, self._settings, self._training_set = context, settings, training_set
        self.runs: dict[str, str] = {}
        """The MLflow run of each kind's study, of those that could be opened."""

    def opened(self, about: "About", trials: "Sequence[TrialRecord]") -> None:
        from serving.registry.access import RegistryError

        said = {"present": about.present, "fixed": about.fixed}
        try:
            self.runs[about.kind] = self._log(about).open(
                trials,
                run_name=f"{about.kind} {about.name[-12:]}",
                params={f"{of}.{name}": value for of, own in said.items() for name, value in own.items()},
                tags={"algorithm": about.kind, "dagster_run_id": self._context.run_id},
                training_set={"version": self._training_set.dvc_hash, **self._training_set.meta},
                note=f"Search for {about.kind}'s hyper-parameters: "
                + "; ".join(f"{name} ({wanted.why})" for name, wanted in about.space.ranges.items()),
            )
        except RegistryError as error:
            self._missed(about.kind, error)

    def trial(self, about: "About", trial: "TrialRecord") -> None:
        from serving.registry.access import RegistryError

        if run_id := self.runs.get(about.kind):
            try:
                self._log(about).trial(run_id, trial)
            except RegistryError as error:
                self._missed(about.kind, error)

    def closed(self, about: "About", outcome: "Outcome | None") -> None:
        from serving.registry.access import RegistryError

        if outcome is not None and about.kind not in self.runs:
            self.opened(about, outcome.trials)  # it may answer again
        if run_id := self.runs.get(about.kind):
            try:
                self._log(about).close(
                    run_id,
                    outcome.trials if outcome else (),
                    interrupted=outcome is None,
                    metrics=_figures(outcome) if outcome else {},
                    tags={"replaced": str(outcome.replaced).lower()} if outcome else {},
                )
            except RegistryError as error:
                self._missed(about.kind, error)

    def annotate(self, tuning: "Tuning", version: "DataVersion", folder: Path) -> None:
        """The version of the parameters on every study's run, the files on those that changed them."""
        from serving.registry.access import RegistryError

        for kind, run_id in list(self.runs.items()):
            files = sorted(folder.iterdir()) if kind in tuning.replaced else []
            log = self._log(tuning.outcomes[kind].about)
            try:
                log.annotate(run_id, tags={"parameters_version": version.hash}, files=files)
            except RegistryError as error:
                self._missed(kind, error)

    def url(self, run_id: str) -> str | None:
        """The run's page; None while MLflow does not answer."""
        from serving.registry import registry
        from serving.registry.access import RegistryError

        try:
            return registry.run_url(self._settings, run_id)
        except RegistryError as error:
            self._context.log.warning(f"no link to MLflow run {run_id}: {error}")
            return None

    def _log(self, about: "About") -> "StudyLog":
        from ml.metrics import PRIMARY
        from serving.trials import StudyLog

        return StudyLog(self._settings, EXPERIMENT, f"{about.name}-{about.id}", PRIMARY)

    def _missed(self, kind: str, error: Exception) -> None:
        self.runs.pop(kind, None)
        self._context.log.warning(f"{kind}: trials are not in MLflow yet, the next tuning adds them: {error}")


def _figures(outcome: "Outcome") -> Mapping[str, float]:
    """What came of a study, in numbers: values on the users that choose, and the verdict on the others."""
    figures: dict[str, float | None] = {
        "trials": float(len(outcome.trials)),
        "present": outcome.present_value,
        "best": outcome.best.value if outcome.best else None,
    }
    if verdict := outcome.verdict:
        figures |= {
            "confirmed_winner": verdict.winner,
            "confirmed_present": verdict.present,
            "confirmed_lead": verdict.difference.value,
            "confirmed_lead_low": verdict.difference.low,
            "confirmed_lead_high": verdict.difference.high,
        }
    return {name: value for name, value in figures.items() if value is not None}


def _content(path: Path) -> dict[str, Any]:
    from ml.tuning_parameters import load

    return load(path)
