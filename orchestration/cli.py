"""The `reelgraph` command: the stack's commands, and the demo that runs the whole graph."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from stack.cli import app, failing_clearly

__all__ = ["app"]


@app.command()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of a public data set (KuaiRand-Pure); the traffic simulator if left out."),
    ] = None,
) -> None:
    """Start the stack, load data, materialize every asset, serve a feed, and show what came out."""
    from ingestion.errors import SourceError

    from orchestration.demo import DemoFailed, run_demo
    from stack.settings import get_settings

    with failing_clearly(SourceError, DemoFailed):
        run_demo(get_settings(), data, Console())


if __name__ == "__main__":
    app()
