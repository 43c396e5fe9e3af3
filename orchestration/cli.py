"""The `reelgraph` command: the stack's commands, and the demo that runs the whole graph."""

from pathlib import Path
from typing import Annotated

import typer

from stack.cli import FAILED, INTERRUPTED, app, bring_up, give_up, make_console, settings_or_exit

__all__ = ["app"]


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


if __name__ == "__main__":
    app()
