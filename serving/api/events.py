"""Event routes: what viewers did, one or many."""

import asyncio
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from serving.api.common import responses
from serving.api.state import State
from serving.events.enrich import TrackedEvent
from serving.events.intake import ErasedUserError, EventIntake, NotDurableError
from serving.events.schemas import BatchAnswer, BatchRequest, TrackAnswer, TrackRequest
from serving.problems import field_errors, problem

JSON = "application/json"
RETRY_AFTER_S = "5"
AT_ONCE = 50
_STARTING = "nothing is stored, send it again: the endpoint is starting"
_ERASED = "this user was erased: nothing is kept of them"
_FOREIGN = "the credential does not speak for this user"


def _described(answer: type, **more: str) -> dict[int | str, dict[str, Any]]:
    described = responses(answer, 400, 403, 422)
    described[202] = {**described.pop(200), "description": "On disk; the next feed takes it into account"}
    for status, description in more.items():
        described[int(status.removeprefix("_"))] = {"model": answer, "description": description}
    return described


def add(app: FastAPI, state: State) -> None:
    @app.post(
        "/api/v1/events/track",
        tags=["events"],
        summary="Track one event",
        status_code=202,
        responses=_described(TrackAnswer),
    )
    async def track(request: Request, asked: TrackRequest) -> Response:
        """Answered as soon as the event is durable. It changes the very next feed, and is stored in ClickHouse once,
        however often it is sent under one `event_id`. After a 503 the event may be stored or not: send it again under
        the `event_id` that the problem names."""
        request_id = request.state.request_id
        intake = state.events
        if intake is None:
            return _unavailable(_STARTING, request_id)
        event: TrackedEvent | None = None
        try:
            event = await _own(state, intake, request, asked)
            await intake.take([event])
        except _RefusedError as error:
            return problem(403, f"user_id: {error}", request_id, errors=[_field(error)])
        except NotDurableError as error:
            intake.metrics.count("unavailable", asked.event_type)
            again = {"event_id": event.event_id} if event else {}
            return _unavailable(_unsure(error, "its event_id"), request_id, **again)
        content = {
            "request_id": request_id,
            "event_id": event.event_id,
            "accepted": True,
            "shown_by": asked.request_id,
            "notes": event.notes,
        }
        return Response(orjson.dumps(content), 202, media_type=JSON)

    @app.post(
        "/api/v1/events/batch",
        tags=["events"],
        summary="Track up to 1,000 events",
        status_code=202,
        responses=_described(
            BatchAnswer, _207="Some are accepted, `results` says what is wrong with the others"
        ),
    )
    async def batch(request: Request, asked: BatchRequest) -> Response:
        """Good events are accepted, bad ones named by index and field: 202 if all are good, 207 if some, a problem
        (422, or 403 if they are all of users the credential may not speak for) if none is. `accepted` ones are durable
        all together, or all may be stored or not (503: send them again, each under the id that the problem's
        `event_ids` has at its index)."""
        request_id = request.state.request_id
        intake = state.events
        if intake is None:
            return _unavailable(_STARTING, request_id)
        results: list[dict[str, Any]] = []
        taken: list[TrackedEvent] = []
        refused = erased = 0
        for index, item in enumerate(asked.events):
            if index % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)  # feeds go on meanwhile: a thousand events take some 50 ms
            event, errors = None, []
            try:
                event = _judged(state, intake, request, TrackRequest.model_validate(item))
                taken.append(event)
            except ValidationError as error:
                errors = _errors(error)
                intake.metrics.count("invalid")
            except _RefusedError as error:
                errors = [_field(error)]
                refused += 1
                erased += error.erased
            results.append(_result(index, event, errors))
        try:
            if erased:
                await intake.refuse(erased)
            await intake.take(taken)
        except NotDurableError as error:
            ids = [result["event_id"] for result in results]
            return _unavailable(_unsure(error, "their event_ids"), request_id, event_ids=ids)
        if not taken:
            return _none(results, 403 if refused == len(results) else 422, request_id)
        content = {
            "request_id": request_id,
            "accepted": len(taken),
            "rejected": len(results) - len(taken),
            "results": results,
        }
        status = 202 if len(taken) == len(results) else 207
        return Response(orjson.dumps(content), status, media_type=JSON)


class _RefusedError(Exception):
    """The event is well formed, but not of somebody whose events may be taken here."""

    def __init__(self, why: str, *, erased: bool = False) -> None:
        super().__init__(why)
        self.erased = erased


def _judged(state: State, intake: EventIntake, request: Request, asked: TrackRequest) -> TrackedEvent:
    if state.security is not None and not state.security.may_act_for(request, asked.user_id):
        intake.metrics.count("forbidden", asked.event_type)
        raise _RefusedError(_FOREIGN)
    try:
        return intake.enriched(asked)
    except ErasedUserError:
        intake.metrics.count("erased", asked.event_type)
        raise _RefusedError(_ERASED, erased=True) from None


async def _own(state: State, intake: EventIntake, request: Request, asked: TrackRequest) -> TrackedEvent:
    try:
        return _judged(state, intake, request, asked)
    except _RefusedError as error:
        if error.erased:
            await intake.refuse(1)
        raise


def _errors(error: ValidationError) -> list[dict[str, str]]:
    """Field and message, without lone surrogates, which JSON cannot carry (a field's name may hold them)."""
    found = field_errors(error.errors(include_url=False))
    return [
        {key: value.encode("utf-8", "replace").decode()[:1000] for key, value in e.items()} for e in found
    ]


def _field(error: _RefusedError) -> dict[str, str]:
    return {"field": "user_id", "message": str(error)}


def _result(index: int, event: TrackedEvent | None, errors: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "index": index,
        "accepted": event is not None,
        "event_id": event.event_id if event else None,
        "notes": event.notes if event else (),
        "errors": errors,
    }


def _none(results: list[dict[str, Any]], status: int, request_id: str) -> Response:
    errors = [
        {**error, "field": f"events.{result['index']}.{error['field']}"}
        for result in results
        for error in result["errors"]
    ]
    detail = f"none of {len(results)} events can be taken; {errors[0]['field']}: {errors[0]['message']}"
    return problem(status, detail, request_id, errors=errors)


def _unsure(error: NotDurableError, name: str) -> str:
    """The disk may take later what it did not take in time: only under the same id it counts once then."""
    return f"perhaps not stored, send it again under {name} in this answer: {error}"


def _unavailable(detail: str, request_id: str, **again: object) -> Response:
    return problem(503, detail, request_id, headers={"Retry-After": RETRY_AFTER_S}, **again)
