"""A decision as a line of JSON, as ClickHouse's `feed_decisions` takes it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from serving.decisions.decision import Decision

TABLE = "feed_decisions"
COLUMNS = (
    "request_id", "user_id", "decided_at", "route", "bundle", "model_kind", "model_version", "source",
    "ranks", "video_ids", "scores", "propensities", "item_sources", "latency_ms", "cached", "degraded",
    "variants", "forced",
)  # fmt: skip


class UnrecordableDecisionError(ValueError):
    """The decision cannot be a row of the table; the message says why."""


def line_of(decision: Decision) -> bytes:
    """One line without its end. Raises `UnrecordableDecisionError`: the table would refuse the lines around it too."""
    items = len(decision.video_ids)
    columns = (decision.ranks, decision.scores, decision.propensities, decision.sources)
    if any(len(column) != items for column in columns):
        raise UnrecordableDecisionError("ranks, videos, scores, propensities and sources differ in length")
    try:
        UUID(decision.request_id)
        return orjson.dumps(_row(decision), _plain, orjson.OPT_SERIALIZE_NUMPY)
    except (ValueError, TypeError) as error:  # no UUID; a lone surrogate; a type that JSON has not
        raise UnrecordableDecisionError(str(error)) from error


def _row(decision: Decision) -> dict[str, Any]:
    return {
        "request_id": decision.request_id,
        "user_id": decision.user_id,
        "decided_at": decision.at_ms / 1000,
        "route": decision.route,
        "bundle": decision.bundle,
        "model_kind": decision.kind,
        "model_version": decision.version,
        "source": decision.source,
        "ranks": decision.ranks,
        "video_ids": decision.video_ids,
        "scores": decision.scores,
        "propensities": decision.propensities,
        "item_sources": decision.sources,
        "latency_ms": decision.latency_ms,
        "cached": decision.cached,
        "degraded": decision.degraded,
        "variants": decision.variants,
        "forced": decision.forced,
    }


def _plain(value: Any) -> Any:
    """What orjson does not know by itself: mappings, and sequences such as an array of strings."""
    return dict(value) if isinstance(value, Mapping) else list(value)
