"""Ranked lists as JSON bytes, put together from the catalogue's ready-made cards."""

import math
from typing import Any

import orjson

from serving.live import Serving
from serving.ranking import Ranking


def list_answer(
    serving: Serving, page: Ranking, *, request_id: str, limit: int, missing: list[str], **about: Any
) -> bytes:
    """The body of a list. `missing`: what it was made without, beside what the ranking says; `about`: `user_id` or
    `video_id`."""
    card = serving.bundle.catalogue.card
    items = b",".join(
        b'{"rank":%d,"score":%s,%s}' % (rank, _number(score), card(row))
        for rank, (row, score) in enumerate(zip(page.rows, page.scores, strict=True), start=page.offset + 1)
    )
    because = [*page.degraded, *missing]
    model = serving.record.models[page.kind]
    return orjson.dumps(
        {
            "request_id": request_id,
            "bundle": serving.record.bundle_id,
            "model": {"kind": page.kind, "version": model.version},
            "source": page.source,
            "degraded": bool(because),
            "degraded_because": because,
            **about,
            "limit": limit,
            "offset": page.offset,
            "items": orjson.Fragment(b"[%s]" % items),
        }
    )


def _number(value: float) -> bytes:
    """Six digits are more than a score means, and half the bytes."""
    assert math.isfinite(value)
    return b"%.6g" % value
