"""Erasure of a user, as a job: what `reelgraph users erase` does, while no run writes the warehouse.

The id is typed into the run's configuration, which Dagster stores. The job's first step is to replace it there by
the pseudonym, in its own run and in earlier ones; the run records are a place of the receipt like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import MetadataValue

from orchestration.metadata import markdown_table
from orchestration.pools import MODELS, WAREHOUSE
from orchestration.resources import Stores

if TYPE_CHECKING:
    from ingestion.erasure.book import User
    from ingestion.erasure.receipt import Entry, Receipt

JOB, OP = "erase_user_job", "erase_user"
REDACTED = "erased:"


class EraseUser(dg.Config):
    """Whom to erase."""

    user_id: str


class AlreadyErasedError(dg.Failure):
    """The run was started again with the configuration of an earlier one, which no longer names anybody."""


@dataclass
class RunRecords:
    """The job's own runs, whose configuration named the user."""

    instance: dg.DagsterInstance
    name: str = "Dagster run records"

    def erase(self, user: "User") -> int:
        """Has Dagster forget the id: the runs stay, their configuration names the pseudonym."""
        from dagster._core.storage.runs.schema import RunsTable
        from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
        from dagster._serdes import serialize_value

        storage = self.instance.run_storage
        if not isinstance(storage, SqlRunStorage):
            return 0
        runs = self._runs(user)
        for run in runs:
            clean = run._replace(run_config=run_config(f"{REDACTED}{user.hash[:12]}"))
            with storage.connect() as connection:
                connection.execute(
                    RunsTable.update()
                    .where(RunsTable.c.run_id == run.run_id)
                    .values(run_body=serialize_value(clean))
                )
        return len(runs)

    def look(self, user: "User") -> "Entry":
        from ingestion.erasure.receipt import Entry, State

        left = self._runs(user)
        note = "delete in the UI the runs " + ", ".join(run.run_id[:8] for run in left) if left else ""
        return Entry(self.name, State.HELD if left else State.GONE, left=len(left), note=note)

    def _runs(self, user: "User") -> list[dg.DagsterRun]:
        runs = self.instance.get_runs(dg.RunsFilter(job_name=JOB))
        return [run for run in runs if configured_user(run.run_config) == user.id]


def run_config(user_id: str) -> dict[str, Any]:
    """The configuration of a run that erases this user."""
    return {"ops": {OP: {"config": {"user_id": user_id}}}}


def configured_user(config: Mapping[str, Any]) -> str | None:
    """Whom a run's configuration names; None if nobody."""
    op = (config.get("ops") or {}).get(OP) or {}
    user_id = (op.get("config") or {}).get("user_id")
    return user_id if isinstance(user_id, str) else None


@dg.op(
    pool=MODELS,
    out=dg.Out(dg.Nothing),
    description="A run waits for every pool its ops name: with this, no training holds the user in memory.",
)
def no_training_runs() -> None:
    """Only names its pool."""


@dg.op(
    name=OP,
    pool=WAREHOUSE,
    ins={"start": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description="Deletes a user from every store; fails if a place still has them. Safe to run again.",
)
def erase_user_op(context: dg.OpExecutionContext, config: EraseUser, stores: Stores) -> None:
    from ingestion.erasure.erase import erase_user

    if config.user_id.startswith(REDACTED):
        raise AlreadyErasedError(
            "this run's configuration names nobody any more: start a new run with the user's id",
            allow_retries=False,
        )
    receipt = erase_user(
        stores.settings, config.user_id, context.log.info, extra=[RunRecords(context.instance)]
    )
    context.log_event(
        dg.AssetMaterialization(
            "erasure_receipts", description=receipt.summary(), metadata=receipt_metadata(receipt)
        )
    )
    if receipt.held:
        raise dg.Failure(receipt.summary(), metadata=receipt_metadata(receipt), allow_retries=False)


def receipt_metadata(receipt: "Receipt") -> dict[str, MetadataValue]:
    """The receipt as Dagster shows it."""
    rows = [
        {"place": e.place, "state": e.state.value, "erased": e.erased, "left": e.left, "note": e.note}
        for e in receipt.entries
    ]
    return {
        "user": MetadataValue.text(receipt.user_hash),
        "complete": MetadataValue.bool(receipt.completed_at is not None),
        "still there": MetadataValue.int(len(receipt.held)),
        "waits for the next run": MetadataValue.int(len(receipt.waiting)),
        "places": markdown_table(rows),
    }


@dg.job(
    name=JOB,
    description="Erases one user on request: `ops: {erase_user: {config: {user_id: ...}}}` (docs/erasure.md).",
)
def erase_user_job() -> None:
    erase_user_op(no_training_runs())
