"""The endpoint as a FastAPI app; BentoML serves it (serving.service)."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from serving import problems
from serving.api import events, experiments, lists, models, operations, page, training, videos
from serving.api.state import State
from serving.security.description import describe_security
from serving.security.guard import Guard

DESCRIPTION = """Short-video recommendations. Every list names the bundle and the registered model version it was made
with, and a `request_id` (also the header `X-Request-ID`). Videos a user has met come back only when nothing else is
left, those they reported never. Errors are `application/problem+json`."""


class GuardedApp(FastAPI):
    """With the guard outside everything else, so that the answer to a fault has its headers too."""

    guarded: State

    def build_middleware_stack(self) -> ASGIApp:
        return Guard(super().build_middleware_stack(), self.guarded)


def create_app(state: State) -> FastAPI:
    """The app over `state`; nothing is read or connected here."""
    app = GuardedApp(
        title="Reelgraph recommendations",
        description=DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.guarded = state
    problems.install(app)
    # Experiments and models before lists, which take /recs/{user_id}.
    for subject in (events, experiments, models, training, lists, operations, page, videos):
        subject.add(app, state)
    describe_security(app)
    return app
