"""Which source a home's data comes from: chosen by the demo, remembered in the home, else by the settings."""

import json
import os
from pathlib import Path

from ingestion.errors import SourceError
from ingestion.kuairand import KuaiRand
from ingestion.simulator import Simulator
from ingestion.source import Source
from stack.settings import Settings

_MARKER = "source.json"


def open_source(settings: Settings, data: Path | None = None) -> Source:
    """The data set in the folder `data`, else in `settings.data`, else the simulator. Reads nothing yet."""
    folder = data or settings.data
    return KuaiRand(folder.expanduser().absolute()) if folder else Simulator()


def choose_source(settings: Settings, data: Path | None) -> Source:
    """Remember the choice for every process of this home, until the next one; gives the source chosen."""
    folder = data or settings.data
    chosen = {"data": str(folder.expanduser().absolute()) if folder else None}
    settings.home.mkdir(parents=True, exist_ok=True)
    draft = settings.home / f"{_MARKER}.{os.getpid()}.new"
    draft.write_text(json.dumps(chosen) + "\n")
    draft.replace(settings.home / _MARKER)
    return open_source(settings, data)


def source_from(settings: Settings) -> Source:
    """The source last chosen in this home, else that of the settings. Raises `SourceError` on a broken marker."""
    marker = settings.home / _MARKER
    try:
        chosen = json.loads(marker.read_text())
        folder = chosen["data"]
    except FileNotFoundError:
        return open_source(settings)
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(marker, 'must be like {"data": "/a/folder"} or {"data": null}') from error
    return KuaiRand(Path(folder)) if folder else Simulator()
