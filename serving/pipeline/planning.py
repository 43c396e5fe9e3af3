"""What to ask of which model for one list, before anything slow is done."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from serving.bundle import TRENDING, Bundle
from serving.pipeline.candidates import Asked
from serving.pipeline.config import PipelineConfig
from serving.pipeline.retrieval import Query, query_of
from serving.pipeline.session import Session
from serving.pipeline.space import Rows, Space, Vector
from serving.ranking import EVERYTHING_WAS_MET, PERSONAL_KINDS

log = logging.getLogger(__name__)

# Whose vectors place a session, if the champion has none.
_PLACES_SESSIONS = ("two-tower", "als", "svd", "content")


@dataclass(frozen=True)
class Plan:
    """One list to be made, and what the later steps need to know."""

    user_id: str
    asked: Asked
    session: Session
    config: PipelineConfig
    short: tuple[Space, Vector] | None
    long_of: Mapping[str, Query]


class Planner:
    """Makes plans from one bundle. `spaces`: by kind, all but popularity. `blocked` tells the catalogue rows that
    nobody may be shown now."""

    def __init__(self, bundle: Bundle, spaces: Mapping[str, Space], blocked: Callable[[], Rows]) -> None:
        self._bundle = bundle
        self._spaces = spaces
        self._blocked = blocked
        places = (bundle.record.champion, *_PLACES_SESSIONS)
        self._embedding = next(
            (s for k in places if (s := spaces.get(k)) is not None and s.factors is not None), None
        )

    def plan(
        self,
        user_id: str,
        session: Session,
        config: PipelineConfig,
        *,
        again: bool = False,
    ) -> Plan:
        """What to ask for this user now. `again`: what was met may come back (nothing else is left)."""
        met = self.excluded(user_id, session, again=again)
        degraded: list[str] = []
        queries = self._queries(user_id, session, config, met, degraded)
        long_of = self._others(user_id, session, config, met, degraded)
        if again:
            degraded.append(EVERYTHING_WAS_MET)
        stranger = bool(queries) and not queries[0].known
        why = tuple(dict.fromkeys(degraded))
        asked = Asked(queries, met, long_of, stranger or config.trending_weight > 0, why)
        return Plan(user_id, asked, session, config, self._short(session), long_of)

    def excluded(self, user_id: str, session: Session, *, again: bool = False) -> Rows:
        """Catalogue rows that must not be listed, (n,) int64, repeats possible: met, now or before, reported, and
        blocked for all; what was met is left out if `again`."""
        now = np.asarray(session.blocked if again else session.met + session.seen + session.blocked, np.int64)
        if again:
            return np.concatenate([self._blocked(), now])
        return np.concatenate([self._blocked(), now, self._bundle.watched.of(user_id).astype(np.int64)])

    def _queries(
        self, user_id: str, session: Session, config: PipelineConfig, met: Rows, degraded: list[str]
    ) -> list[Query]:
        wanted = self._bundle.record.champion if config.model == "champion" else config.model
        if wanted == TRENDING:
            return []
        if wanted not in self._spaces:
            degraded.append(f"no {wanted} model in the bundle")
        kinds = dict.fromkeys((wanted, self._bundle.record.champion, *PERSONAL_KINDS))
        found = [q for kind in kinds if (q := self._query(kind, user_id, session, met, degraded))]
        # Who is known by name to any model is not a stranger: those answer first.
        found.sort(key=lambda query: not query.known)
        return found

    def _others(
        self, user_id: str, session: Session, config: PipelineConfig, met: Rows, degraded: list[str]
    ) -> dict[str, Query]:
        found = {}
        for kind, weight in (("svd", config.svd_weight), ("content", config.content_weight)):
            query = self._query(kind, user_id, session, met, degraded) if weight else None
            if query is not None and query.long is not None:
                found[kind] = query
        return found

    def _query(
        self, kind: str, user_id: str, session: Session, met: Rows, degraded: list[str]
    ) -> Query | None:
        """None if there is no such model, it knows nothing of the user, or it fails: then `degraded` says so."""
        space = self._spaces.get(kind)
        if space is None:
            return None
        try:
            return query_of(space, user_id, met, session.liked)
        except Exception:  # a feed must not fail with one model
            log.exception("the %s model cannot say what somebody wants", kind)
            degraded.append(f"the {kind} model failed")
            return None

    def _short(self, session: Session) -> tuple[Space, Vector] | None:
        if self._embedding is None or not session.liked:
            return None
        vector = self._embedding.short(session.liked)
        return None if vector is None else (self._embedding, vector)
