"""Errors as RFC 9457 problem+json: they name the field or the cause and leak nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from serving.schemas import Problem

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "Malformed request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    411: "Length required",
    413: "Too large",
    414: "Address too long",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    502: "Bad answer from another server",
    503: "Not ready",
    504: "Too slow",
}


def problem(
    status: int, detail: str, request_id: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """`more` are extension members, such as `errors`."""
    content = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "request_id": request_id,
        **more,
    }
    return Response(orjson.dumps(content), status, dict(headers or {}), MEDIA_TYPE)


def field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """pydantic's errors as field and message, without echoing the input."""
    found = []
    for error in errors:
        place = [str(part) for part in error["loc"] if part not in ("query", "body", "path")]
        found.append({"field": ".".join(place) or "body", "message": str(error["msg"])})
    return found


def install(app: FastAPI) -> None:
    """Make every error of the app a problem."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        malformed = any(item["type"] == "json_invalid" for item in error.errors())
        if malformed:
            return problem(400, "the body is not JSON", request.state.request_id)
        errors = field_errors(error.errors())
        detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
        return problem(422, _printable(detail), request.state.request_id, errors=_clean(errors))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        detail = (
            f"{request.method} {request.url.path}" if error.status_code in (404, 405) else str(error.detail)
        )
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _allowed(app, request)
        return problem(error.status_code, _printable(detail), request.state.request_id, headers=headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return problem(500, "the request could not be answered", request.state.request_id)

    default = app.openapi

    def described() -> dict[str, Any]:
        """FastAPI lists the schemas of JSON answers only; ours of problems are referred to by every route."""
        content = default()
        content["components"]["schemas"] |= _schemas()
        return content

    app.openapi = described  # type: ignore[method-assign]


def _allowed(app: FastAPI, request: Request) -> str:
    """Of all routes of this path: Starlette names the methods of the first one alone."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    met = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    exact = [
        route for route in met if route.path == request.url.path
    ]  # not what it would be as somebody's id
    return ", ".join(sorted({method for route in exact or met for method in route.methods or ()}))


def _schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Problem": schema}


def _clean(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: _printable(value) for key, value in error.items()} for error in errors]


def _printable(text: str) -> str:
    """Without lone surrogates, which JSON cannot carry (a field name may hold them)."""
    return text.encode("utf-8", "replace").decode()[:1000]
