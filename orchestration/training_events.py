"""Which runs of Dagster are news to other services: trainings that began or ended."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from serving.domain_events import (
    ModelTrainingCompleted,
    ModelTrainingStarted,
    TrainingCompleted,
    TrainingStarted,
    training_completed,
    training_started,
)
from serving.trainings.runs import TRAINING_JOBS, TRIGGER_TAG, TYPE_TAG

if TYPE_CHECKING:
    from dagster._core.storage.dagster_run import RunRecord

OVERLAP = timedelta(seconds=30)
"""Looked at again: a change may become visible a little after a later one."""
REMEMBERED = 200
"""Events that were told of; runs that change again do not repeat them."""
_PAGE = 100
_ENDED = {
    dg.DagsterRunStatus.SUCCESS: "SUCCESS",
    dg.DagsterRunStatus.FAILURE: "FAILURE",
    dg.DagsterRunStatus.CANCELED: "CANCELED",
}

TrainingEvent = ModelTrainingStarted | ModelTrainingCompleted


@dataclass(frozen=True)
class Cursor:
    """`after`: runs that changed before it (UTC, ISO) were looked at. `told`: ids of events."""

    after: str
    told: tuple[str, ...] = field(default=())

    @classmethod
    def parse(cls, text: str | None, now: datetime) -> "Cursor":
        """The first tick begins with what happens from now on."""
        if text is None:
            return cls((now + OVERLAP).isoformat())
        found = json.loads(text)
        return cls(found["after"], tuple(found["told"]))

    def dump(self) -> str:
        return json.dumps(vars(self))


def changed_trainings(instance: dg.DagsterInstance, cursor: Cursor) -> "list[RunRecord]":
    """Runs of training jobs that changed after the cursor's moment, the first to change first; a page of them."""
    after = datetime.fromisoformat(cursor.after) - OVERLAP
    records = [
        record
        for job in TRAINING_JOBS
        for record in instance.get_run_records(
            dg.RunsFilter(job_name=job, updated_after=after),
            limit=_PAGE,
            order_by="update_timestamp",
            ascending=True,
        )
    ]
    return sorted(records, key=lambda record: record.update_timestamp)[:_PAGE]


def news(records: "Iterable[RunRecord]", cursor: Cursor) -> tuple[list[TrainingEvent], Cursor]:
    """Events not told of yet, and the cursor for after they were."""
    events: list[TrainingEvent] = []
    for record in records:
        events += [event for event in _events_of(record) if str(event.id) not in cursor.told]
        # Storage compares what it keeps without a zone: UTC.
        changed = record.update_timestamp
        moment = changed.replace(tzinfo=UTC) if changed.tzinfo is None else changed.astimezone(UTC)
        cursor = replace(cursor, after=moment.isoformat())
    told = (*cursor.told, *(str(event.id) for event in events))[-REMEMBERED:]
    return events, replace(cursor, told=told)


def _events_of(record: "RunRecord") -> list[TrainingEvent]:
    run, events = record.dagster_run, []
    if record.start_time is not None:
        payload = TrainingStarted(
            run_id=run.run_id,
            job=run.job_name,
            model_type=run.tags.get(TYPE_TAG, "all"),
            trigger=run.tags.get(TRIGGER_TAG),
        )
        events.append(training_started(payload, _utc(record.start_time)))
    if run.status in _ENDED:
        ended = record.end_time or record.update_timestamp.timestamp()
        duration = None if record.start_time is None else max(0.0, ended - record.start_time)
        done = TrainingCompleted(
            run_id=run.run_id,
            job=run.job_name,
            status=_ENDED[run.status],  # type: ignore[arg-type]
            duration_s=duration,
        )
        events.append(training_completed(done, _utc(ended)))  # type: ignore[arg-type]
    return events  # type: ignore[return-value]


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
