"""The `reelgraph` command: the stack's commands, and the demo that runs the whole graph."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.keys_cli import keys
from orchestration.models_cli import models
from orchestration.users_cli import users
from stack.cli import FAILED, INTERRUPTED, app, bring_up, give_up, make_console, settings_or_exit
from stack.settings import child_environment

__all__ = ["app"]

app.add_typer(users, name="users")
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")


@app.command()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of a public data set (KuaiRand-Pure); the traffic simulator if left out."),
    ] = None,
) -> None:
    """Start the stack, load data, materialize every asset, serve a feed, and show what came out."""
    from ingestion.errors import IngestionError
    from orchestration.demo import DemoFailed, run_demo

    settings = settings_or_exit()
    try:
        run_demo(settings, data, make_console(), start_stack=bring_up)
    except (IngestionError, DemoFailed) as error:
        give_up(str(error), FAILED)
    except KeyboardInterrupt:
        give_up(
            "interrupted; the services stay up (`make down` stops them), a run under way goes on", INTERRUPTED
        )


@app.command()
def repro() -> None:
    """Train and judge again from the tracked training set with `dvc repro`, outside Dagster."""
    from ml.tuning_parameters import ensure
    from stack.data_versions import repository_root

    settings = settings_or_exit()
    if not settings.training_set_dir.exists():
        give_up(f"{settings.training_set_dir} is not there yet: `make demo` makes it", FAILED)
    ensure(settings.parameters_dir)
    # dvc.yaml says `python`: it must be this one, wherever the caller's PATH points.
    here = str(Path(sys.executable).parent)
    environment = child_environment(settings)
    environment["PATH"] = os.pathsep.join([here, environment.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=repository_root(settings), env=environment, check=False)
    raise typer.Exit(done.returncode)


if __name__ == "__main__":
    app()
