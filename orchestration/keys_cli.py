"""`reelgraph keys`: make, list and revoke the API keys by which services call the endpoint."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from serving.security.api_keys import (
    ApiKeysFileError,
    KeyNameError,
    StoredKey,
    create_key,
    keys_file,
    read_keys,
    revoke_key,
)
from serving.security.principal import Role
from stack.cli import BAD_SETTINGS, FAILED, give_up, make_console, settings_or_exit

keys = typer.Typer(
    help="API keys of services that call the endpoint (docs/security.md).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Which service it is for: letters, digits, dots and dashes.")],
    role: Annotated[list[Role], typer.Option(help="What it may; can be given several times.")],
    expires_days: Annotated[int | None, typer.Option(min=1, max=3650, help="For ever if left out.")] = None,
) -> None:
    """Make a key and print it, alone on standard output: it is shown this once. In force within a second."""
    settings = settings_or_exit()
    lifetime = timedelta(days=expires_days) if expires_days else None
    try:
        made, text = create_key(keys_file(settings), name, role, lifetime)
    except ValueError:
        give_up(f"{name!r} is no name of a key: up to 64 letters, digits, dots and dashes", BAD_SETTINGS)
    except (ApiKeysFileError, KeyNameError) as error:
        give_up(str(error), FAILED)
    until = f"until {made.expires_at:%Y-%m-%d}" if made.expires_at else "until it is revoked"
    make_console(stderr=True).print(
        f"{name} may act as {', '.join(sorted(made.roles))} {until}. Its key, which cannot be shown again:",
        markup=False,
        soft_wrap=True,
    )
    typer.echo(text)


@keys.command("list")
def list_keys() -> None:
    """Show the keys: never their text, of which only hashes are kept."""
    try:
        found = read_keys(keys_file(settings_or_exit()))
    except ApiKeysFileError as error:
        give_up(str(error), FAILED)
    if not found:
        make_console().print("no keys: reelgraph keys create --name NAME --role client", markup=False)
        return
    make_console().print(keys_table(found, datetime.now(UTC)))


@keys.command()
def revoke(name: Annotated[str, typer.Argument(help="The key's name.")]) -> None:
    """End a key. The endpoint refuses it within a second."""
    try:
        revoke_key(keys_file(settings_or_exit()), name)
    except (ApiKeysFileError, KeyNameError) as error:
        give_up(str(error), FAILED)
    make_console().print(f"{name} is revoked", markup=False)


def keys_table(found: list[StoredKey], now: datetime) -> Table:
    """A line a key, those in force first."""
    table = Table("name", "roles", "made", "expires", "", box=None, pad_edge=False, header_style="bold")
    for key in sorted(found, key=lambda key: (not key.good_at(now), key.name, key.created_at)):
        state = "in force" if key.good_at(now) else "revoked" if key.revoked_at else "expired"
        expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
        style = "green" if state == "in force" else "dim"
        roles = ", ".join(sorted(key.roles))
        table.add_row(key.name, roles, f"{key.created_at:%Y-%m-%d}", expires, Text(state, style=style))
    return table
