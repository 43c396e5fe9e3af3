"""The endpoint as a FastAPI app; BentoML serves it (serving.service)."""

from fastapi import FastAPI

from serving import problems
from serving.api import experiments, lists, operations
from serving.api.state import State

DESCRIPTION = """Short-video recommendations. Every list names the bundle and the registered model version it was made
with, and a `request_id` (also the header `X-Request-ID`). Videos a user has met never come back. Errors are
`application/problem+json`."""


def create_app(state: State) -> FastAPI:
    """The app over `state`; nothing is read or connected here."""
    app = FastAPI(
        title="Reelgraph recommendations",
        description=DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    problems.install(app)
    for subject in (experiments, lists, operations):  # experiments first: lists take /recs/{user_id}
        subject.add(app, state)
    return app
