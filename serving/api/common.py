"""What all routes share: how answers are described, and the answer while nothing is in service."""

from typing import Any

from fastapi import Response

from serving import problems
from serving.api.state import State
from serving.problems import problem

RETRY_AFTER_S = "2"


def responses(answer: type, *statuses: int) -> dict[int | str, dict[str, Any]]:
    described: dict[int | str, dict[str, Any]] = {200: {"model": answer}}
    for status in (*statuses, 503):
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        described[status] = {"description": problems.TITLES[status], "content": content}
    return described


def not_ready(state: State, request_id: str) -> Response:
    missing = ["no bundle has been published yet"]
    if state.live and state.live.refused:
        missing = [f"bundle {state.live.refused.tag} is refused: {state.live.refused.reason}"]
    headers = {"Retry-After": RETRY_AFTER_S}
    return problem(
        503, f"no bundle is in service: {missing[0]}", request_id, headers=headers, missing=missing
    )
