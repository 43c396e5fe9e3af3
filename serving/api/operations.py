"""Liveness, readiness, metrics, and the description of the routes (offline: no CDN)."""

from pathlib import Path

import bentoml
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

from serving import schemas
from serving.api.common import not_ready, responses
from serving.api.state import State
from serving.telemetry.metrics import CONTENT_TYPE

STATIC = Path(__file__).parents[1] / "static"
# BentoML carries Swagger UI; its own page would load it from a CDN.
SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"


def add(app: FastAPI, state: State) -> None:
    @app.get("/health", tags=["operations"], summary="Liveness", response_model=schemas.Health)
    async def health() -> Response:
        """The process answers, with or without a bundle."""
        return Response(b'{"status":"ok"}', media_type="application/json")

    @app.get("/health/ready", tags=["operations"], summary="Readiness", responses=responses(schemas.Ready))
    async def ready(request: Request) -> Response:
        """200 once a bundle is in service, and which; 503 says what is missing."""
        serving = state.serving
        if serving is None or state.live is None:
            return not_ready(state, request.state.request_id)
        record, refused = serving.record, state.live.refused
        content = {
            "status": "ready",
            "bundle": record.bundle_id,
            "champion": record.champion,
            "models": {kind: model.version for kind, model in record.models.items()},
            "training_set": record.training_set.get("version"),
            "created_at": record.created_at.isoformat(),
            "refused": {"tag": refused.tag, "reason": refused.reason} if refused else None,
            "code_differs": serving.code_differs,
            "opt_out": state.live.opt_out.version,
            "recent_items": "ok" if state.context and state.context.available else "unavailable",
        }
        return Response(orjson.dumps(content), media_type="application/json")

    @app.get("/metrics", tags=["operations"], summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(state.metrics.render(), media_type=CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response((STATIC / "docs.html").read_bytes(), media_type="text/html")

    @app.get("/docs/page.js", include_in_schema=False)
    async def docs_script() -> Response:
        return Response((STATIC / "docs.js").read_bytes(), media_type="text/javascript")

    app.mount("/docs/assets", StaticFiles(directory=SWAGGER), name="swagger")
