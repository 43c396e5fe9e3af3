"""`reelgraph users`: erase a user, and show what became of them."""

import json
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from stack.cli import FAILED, give_up, make_console, settings_or_exit

if TYPE_CHECKING:
    from ingestion.erasure.receipt import Receipt
    from stack.settings import Settings

# What may have read the user before they were deleted, and write them after.
WRITERS = (
    *("sessions_job", "features_job", "data_tests_job", "online_features_job", "training_job"),
    *("everything_job", "ingestion_job", "__ASSET_JOB"),
)
WAIT_S = 300.0
_POLL_S = 1.0

users = typer.Typer(
    help="Erase a user on request, and verify it (docs/erasure.md).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

UserId = Annotated[str, typer.Argument(help="The user's id. After -- if it begins with a dash.")]
AsJson = Annotated[bool, typer.Option("--json", help="The receipt as one JSON object instead of a table.")]


@users.command()
def erase(
    user: UserId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for runs in progress that may still hold the user.")
    ] = WAIT_S,
) -> None:
    """Delete a user everywhere and refuse what still arrives of them; run again, it resumes or verifies.

    Exit code 1 if a place still has the user or could not be asked.
    """
    from ingestion.erasure.erase import erase_user
    from ingestion.errors import IngestionError

    settings = settings_or_exit()
    if not yes and not typer.confirm(f"Erase user {user} from every store, for ever?", err=True):
        give_up("nothing erased", FAILED)
    console = make_console(stderr=True)
    try:
        receipt = erase_user(
            settings,
            user,
            lambda line: console.print(line, markup=False, style="dim"),
            settle=lambda: _wait_for_runs(settings, wait),
        )
    except IngestionError as error:
        give_up(f"not erased: {error}", FAILED)
    except KeyboardInterrupt:
        give_up("interrupted: the user is recorded and refused; the same command goes on", FAILED)
    _finish(receipt, as_json)


@users.command()
def receipt(user: UserId, as_json: AsJson = False) -> None:
    """Count an erased user again in every place, deleting nothing, and show the receipt."""
    from ingestion.erasure.erase import recheck
    from ingestion.errors import IngestionError

    try:
        found = recheck(settings_or_exit(), user)
    except IngestionError as error:
        give_up(str(error), FAILED)
    _finish(found, as_json)


def _finish(receipt: "Receipt", as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps(receipt.as_dict(), indent=2))
    else:
        console = make_console()
        console.print(receipt_table(receipt))
        console.print(receipt.summary(), markup=False)
    raise typer.Exit(FAILED if receipt.held else 0)


def receipt_table(receipt: "Receipt") -> Table:
    """A line a place."""
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=f"erasure {receipt.user_hash[:12]}",
        title_justify="left",
    )
    for title in ("place", "state", "erased", "left", "note"):
        numeric = title in ("erased", "left")
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for entry in receipt.entries:
        style = "bold red" if entry.state.bad else "yellow" if entry.left else "green"
        counts = (str(entry.erased or ""), str(entry.left or ""))
        table.add_row(
            Text(entry.place), Text(entry.state, style=style), *counts, Text(entry.note, style="dim")
        )
    return table


def _wait_for_runs(settings: "Settings", wait_s: float) -> None:
    """Until no run that writes the warehouse is in progress; without Dagster there is none to wait for."""
    from orchestration.graphql import DagsterClient, DagsterError, DagsterUnreachable

    dagster = DagsterClient(settings, timeout_s=10)
    deadline = time.monotonic() + wait_s
    try:
        while any(dagster.unfinished_run(job) for job in WRITERS):
            if time.monotonic() > deadline:
                make_console(stderr=True).print(
                    f"a run is still in progress after {wait_s:.0f} s: check with `reelgraph users receipt`"
                    " when it has ended",
                    markup=False,
                )
                return
            time.sleep(_POLL_S)
    except DagsterUnreachable:
        return
    except DagsterError as error:
        make_console(stderr=True).print(f"Dagster was not asked for runs in progress: {error}", markup=False)
    finally:
        dagster.close()
