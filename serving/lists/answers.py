"""Ranked lists as JSON bytes, put together from the catalogue's ready-made cards."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from serving.live import Serving
from serving.pipeline.page import Page


def items_of(serving: Serving, page: Page) -> bytes:
    """The items of a list, with commas between."""
    card = serving.bundle.catalogue.card
    scores = zip(page.rows, page.scores, strict=True)
    if page.parts is None:
        return b",".join(
            b'{"rank":%d,"score":%s,%s}' % (rank, _number(score), card(row))
            for rank, (row, score) in enumerate(scores, start=page.offset + 1)
        )
    return b",".join(
        b'{"rank":%d,"score":%s,%s,"explain":%s}'
        % (rank, _number(score), card(row), _why(page, rank - page.offset - 1))
        for rank, (row, score) in enumerate(scores, start=page.offset + 1)
    )


def list_answer(
    serving: Serving,
    page: Page,
    items: bytes,
    *,
    request_id: str,
    limit: int,
    missing: Sequence[str] = (),
    variants: Mapping[str, str] | None = None,
    cached: bool = False,
    **about: Any,
) -> bytes:
    """The body of a list. `missing`: what it was made without, beside what the page says; `about`: `user_id` or
    `video_id`, and `lineage` if that was asked for."""
    because = [*page.degraded, *missing]
    return orjson.dumps(
        {
            "request_id": request_id,
            "bundle": serving.record.bundle_id,
            "model": {"kind": page.kind, "version": serving.record.models[page.kind].version},
            "source": page.source,
            "degraded": bool(because),
            "degraded_because": because,
            "variants": variants or {},
            "cached": cached,
            **about,
            "limit": limit,
            "offset": page.offset,
            "items": orjson.Fragment(b"[%s]" % items),
        }
    )


def lineage_of(serving: Serving, kind: str) -> dict[str, Any]:
    """What a list of this kind was made with, back to its cause."""
    record = serving.record
    model = record.models[kind]
    return {
        "bundle": record.bundle_id,
        "bundle_created_at": record.created_at.isoformat(),
        "model": kind,
        "version": model.version,
        "mlflow_run_id": model.run_id,
        "training_set": record.training_set.get("version"),
        "dagster_run_id": record.dagster_run_id,
        "code": record.code.git_commit or record.code.sha256[:16],
    }


def _why(page: Page, place: int) -> bytes:
    assert page.parts is not None
    return orjson.dumps(
        {
            "source": page.origins[place],
            "propensity": page.propensities[place],
            "parts": dict(page.parts[place]),
        }
    )


def _number(value: float) -> bytes:
    """Six digits are more than a score means, and half the bytes."""
    assert math.isfinite(value)
    return b"%.6g" % value
