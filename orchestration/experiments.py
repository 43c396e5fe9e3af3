"""The report on the experiments: each judged by what the decision log and its users' sessions say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ml.experiment_analysis import ExperimentResult, analyse
from ml.experiment_users import Design, UnusableExperimentError
from ml.experiment_words import rows, verdict
from orchestration.experiment_users import Met, experiments_met, fetch_users, sessions_are_built
from serving.experiments.declaration import Declaration, Experiment

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NO_LISTS = "no list has been made in an experiment yet"
NO_SESSIONS = "watch_sessions has not been built: run sessions_job"


@dataclass(frozen=True)
class Judged:
    """One experiment of the log. `result` is None where it cannot be analysed; `verdict` says why."""

    id: str
    since: datetime
    verdict: str
    result: ExperimentResult | None = None
    switched: int = 0

    @property
    def sound(self) -> bool:
        """Whether its sample is what was declared. One that nobody declares any more is not judged at all."""
        return self.result is None or self.result.trusted

    def rows(self) -> list[dict[str, object]]:
        return rows(self.result) if self.result else []

    def sample(self) -> list[dict[str, object]]:
        """A row a variant: users who came, users who were due."""
        if self.result is None:
            return []
        balance, design = self.result.balance, self.result.design
        return [
            {"experiment": self.id, "variant": name, "users": count, "due": round(due, 1),
             "observed in full": seen, "p": f"{balance.p_value:.2g}"}
            for name, count, due, seen in zip(
                design.variants, balance.counts, balance.expected, self.result.observed, strict=True
            )
        ]  # fmt: skip


@dataclass(frozen=True)
class Report:
    """`problem`: why nothing was judged, None if something was. `unusable`: experiments whose log contradicts what is
    declared."""

    experiments: Sequence[Judged] = ()
    problem: str | None = None
    unusable: Sequence[str] = ()

    @property
    def unsound(self) -> list[str]:
        """Experiments whose result must not be believed."""
        return sorted({*self.unusable, *(judged.id for judged in self.experiments if not judged.sound)})


def report_on(client: "Client", declaration: Declaration, as_of: datetime) -> Report:
    """Judge every experiment of the log that is declared; say of the others that they are not."""
    met = experiments_met(client)
    if not met:
        return Report(problem=NO_LISTS)
    if not sessions_are_built(client):
        return Report(problem=NO_SESSIONS)
    declared = {experiment.id: experiment for experiment in declaration.experiments}
    judged, unusable = [], []
    for one in met:
        experiment = declared.get(one.id)
        if experiment is None:
            judged.append(
                Judged(one.id, one.since, "not judged: it is not declared, so its shares are unknown")
            )
            continue
        try:
            judged.append(_judge(client, experiment, one, as_of))
        except UnusableExperimentError as error:
            unusable.append(one.id)
            judged.append(Judged(one.id, one.since, f"not to be trusted: {error}"))
    return Report(judged, unusable=unusable)


def design_of(experiment: Experiment) -> Design:
    """What was declared, as the analysis takes it."""
    return Design(
        experiment.id,
        [variant.name for variant in experiment.variants],
        [variant.share for variant in experiment.variants],
        experiment.control,
        experiment.planned_users,
    )


def _judge(client: "Client", experiment: Experiment, met: Met, as_of: datetime) -> Judged:
    observed = fetch_users(client, experiment, met.since, as_of)
    result = analyse(observed.users, design_of(experiment))
    return Judged(experiment.id, met.since, verdict(result), result, observed.switched)
