"""The commands of the stack: up, down, status, logs, reset. `orchestration.cli` adds what runs the graph."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from stack import control
from stack.console import progress, size, status_notes, status_table
from stack.fingerprint import outdated
from stack.log_lines import readable
from stack.processes import StillRunningError
from stack.run_files import HomeNotOursError
from stack.service import UnknownServiceError
from stack.settings import Settings, SettingsError, load_settings, reach_loopback_directly
from stack.status import stack_status

FAILED, BAD_SETTINGS, NOT_HEALTHY, INTERRUPTED = 1, 2, 3, 130
_TAIL_LINES = 20
_FOLLOW_S = 0.25

app = typer.Typer(
    help="Reelgraph: short-video recommendations, from playback events to a served feed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """What every command needs first."""
    reach_loopback_directly()


def make_console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to wrap at
    return console


def give_up(message: str, code: int) -> NoReturn:
    make_console(stderr=True).print(message, markup=False, soft_wrap=True)
    raise typer.Exit(code)


def settings_or_exit() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        give_up(str(error), BAD_SETTINGS)


@app.command()
def up(
    only: Annotated[str, typer.Option(help="Comma-separated services; what they require comes along.")] = "",
) -> None:
    """Start what is not running and wait until it is well."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    bring_up(settings_or_exit(), make_console(), names)


def bring_up(settings: Settings, console: Console, names: Sequence[str] = ()) -> None:
    """`up` with progress; every way it can fail ends the command with a clear line and its exit code."""
    try:
        with progress(console) as watch:
            control.up(settings, names, watch)
        if note := outdated(settings):
            console.print(note, markup=False, soft_wrap=True)
    except UnknownServiceError as error:
        give_up(str(error), BAD_SETTINGS)
    except (control.PreflightError, HomeNotOursError, StillRunningError) as error:
        give_up(str(error), FAILED)
    except control.StartFailedError as error:
        _explain(settings, error)
    except KeyboardInterrupt:
        give_up("interrupted; what had been started is down again", INTERRUPTED)


def _explain(settings: Settings, error: control.StartFailedError) -> NoReturn:
    """The line, then the end of the log of what failed."""
    log = settings.logs_dir / f"{error.service or 'supervisor'}.log"
    tail = [f"    {part}" for line in control.log_tail(log, _TAIL_LINES) for part in readable(line)]
    give_up("\n".join([str(error), f"the end of {log}:", *tail]), FAILED)


@app.command()
def down() -> None:
    """Stop everything; does nothing if nothing runs."""
    settings, console = settings_or_exit(), make_console()
    try:
        with progress(console) as watch:
            was_running = control.down(settings, watch)
    except StillRunningError as error:
        give_up(str(error), FAILED)
    console.print("stopped" if was_running else "nothing was running")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Show every service; exit code 3 if something is not healthy."""
    found, console = stack_status(settings_or_exit()), make_console()
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    elif not found.running:
        console.print(f"not running ({found.home})", markup=False, soft_wrap=True)
        if found.orphans:
            console.print(f"{found.orphans} processes are left of a dead supervisor: reelgraph down")
    else:
        console.print(status_table(found))
        for note in status_notes(found):
            console.print(note, markup=False, soft_wrap=True)
        console.print(f"all together {size(found.memory_bytes)}; state in {found.home}", soft_wrap=True)
    if not found.healthy:
        raise typer.Exit(NOT_HEALTHY)


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="A service, or supervisor; all of them if not named.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it is written.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many to begin with.")] = 50,
) -> None:
    """Show the end of the logs."""
    folder = settings_or_exit().logs_dir
    found = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if service and service not in found:
        give_up(f"no log of {service!r}; there are: {', '.join(found) or 'none'}", BAD_SETTINGS)
    chosen = {service: found[service]} if service else found
    offsets = {name: path.stat().st_size for name, path in chosen.items()}
    for name, path in chosen.items():
        for line in control.log_tail(path, lines):
            _show(name, line, alone=bool(service))
    while follow:
        try:
            time.sleep(_FOLLOW_S)
        except KeyboardInterrupt:
            return
        for name, path in chosen.items():
            text, offsets[name] = _since(path, offsets[name])
            for line in text.splitlines():
                _show(name, line, alone=bool(service))


def _show(name: str, line: str, *, alone: bool) -> None:
    for part in readable(line):
        typer.echo(part if alone else f"{name:<18} | {part}")


def _since(path: Path, offset: int) -> tuple[str, int]:
    """Whole lines written after `offset`, and where they end; from the start if the log was trimmed."""
    if path.stat().st_size < offset:
        offset = 0
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return whole.decode(errors="replace"), offset + len(whole)


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Stop the stack and delete all its state, after asking."""
    settings, console = settings_or_exit(), make_console()
    if not settings.home.exists():
        console.print(f"nothing to delete at {settings.home}", markup=False, soft_wrap=True)
        return
    try:
        control.check_ours(settings)
        if not yes and not typer.confirm(f"Delete all data, models and logs in {settings.home}?"):
            give_up("nothing deleted", FAILED)
        with progress(console) as watch:
            control.reset(settings, watch)
    except (HomeNotOursError, StillRunningError) as error:
        give_up(str(error), FAILED)
    console.print(f"deleted {settings.home}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    app()
