"""`reelgraph models`: who serves and why, and one step back."""

from typing import Annotated

import typer
from rich.table import Table

from orchestration.records import KINDS
from stack.cli import FAILED, give_up, make_console, settings_or_exit

models = typer.Typer(
    help="The registered models: who serves and why, and one step back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@models.command()
def status() -> None:
    """The newest version of each kind, who is champion and who challenger, and what was decided last."""
    from serving.registry import registry
    from serving.registry.promotion import AT_TAG, BY_TAG, WHY_TAG

    settings = settings_or_exit()
    try:
        aliases = {alias: registry.by_alias(settings, alias) for alias in ("champion", "challenger", *KINDS)}
    except registry.RegistryError as error:
        give_up(str(error), FAILED)
    found = {version.version: version for version in aliases.values() if version}
    table = Table("version", "kind", "is", "promoted by", "at", "why")
    for number, version in sorted(found.items(), reverse=True):
        names = [alias for alias, held in aliases.items() if held and held.version == number]
        said = [version.tags.get(tag, "") for tag in (BY_TAG, AT_TAG, WHY_TAG)]
        table.add_row(str(number), version.kind, ", ".join(names), *said)
    console = make_console()
    console.print(table if found else "no model is registered yet: `make demo` trains them", markup=False)


@models.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is written on the version.")] = "",
    hold_days: Annotated[
        float, typer.Option(min=0, help="Days in which the gate promotes nothing; 0: it may at once.")
    ] = 7.0,
) -> None:
    """Move `champion` back to the version it replaced; again goes back one more. The endpoint follows by itself."""
    from serving.registry.promotion import rollback as step_back
    from serving.registry.registry import RegistryError

    settings = settings_or_exit()
    try:
        done = step_back(settings, reason=reason, hold_days=hold_days)
    except RegistryError as error:
        give_up(str(error), FAILED)
    make_console().print(
        f"champion is version {done.version} ({done.kind}) again, instead of {done.previous}; "
        "the endpoint serves it within a minute",
        markup=False,
    )
