"""Loading a source into the stores: each entity on its own, or all of them."""

from ingestion.catalogue_load import load_users, load_videos
from ingestion.event_load import load_events
from ingestion.report import LoadReport, Progress
from ingestion.source import Source
from stack.settings import Settings

__all__ = ["LoadReport", "Progress", "load", "load_events", "load_users", "load_videos"]


def load(settings: Settings, source: Source, progress: Progress | None = None) -> list[LoadReport]:
    """Users, videos, then events; the schema must be there (`ingestion.schema.bootstrap`).

    Raises `SourceError` before anything is written.
    """
    source.validate()
    return [step(settings, source, progress) for step in (load_users, load_videos, load_events)]
