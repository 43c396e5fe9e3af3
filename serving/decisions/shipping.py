"""Segments of decisions into ClickHouse: sent whole, once or more often, counted once."""

from collections.abc import Callable

import httpx
import orjson

from serving.decisions.row import COLUMNS, TABLE
from serving.spool.spool import SegmentDeclinedError, SegmentRefusedError, ShipReport
from serving.telemetry.tracing import pass_on
from stack.clients import clickhouse_parts
from stack.settings import Settings

TIMEOUT = httpx.Timeout(30.0, connect=3.0)

# ClickHouse's words for rows that will never fit: what cannot be parsed, or is out of a type's range. Anything else
# (no table yet, no memory, a wrong password) may pass, and the rows wait for it.
_REFUSED = frozenset({6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 376, 691})


class StoreFailedError(SegmentDeclinedError):
    """ClickHouse did not take the rows this time; they are sent again."""


class DecisionShipper:
    """`ship` is called in the spool's thread. A connection is kept between segments."""

    def __init__(self, settings: Settings, is_erased: Callable[[str], bool] = lambda user_id: False) -> None:
        parts = clickhouse_parts(settings)
        host = f"[{parts['host']}]" if ":" in parts["host"] else parts["host"]
        scheme = "https" if parts["secure"] else "http"
        self._is_erased = is_erased
        self._client = httpx.Client(
            base_url=f"{scheme}://{host}:{parts['port']}",
            headers={"X-ClickHouse-User": parts["username"], "X-ClickHouse-Key": parts["password"]},
            params={
                "database": parts["database"],
                "query": f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) FORMAT JSONEachRow",
                "async_insert": "0",  # an answer means that the rows are stored
            },
            timeout=TIMEOUT,
            trust_env=False,  # no proxy sits between us and our store
            event_hooks={"request": [pass_on]},
        )

    def ship(self, content: bytes, segment_id: str) -> ShipReport:
        """Store the segment's rows but those of users who were erased while they waited.

        A row that comes twice replaces itself. Raises `SegmentRefusedError` for rows that no attempt would store,
        `StoreFailedError` or httpx's errors for what may pass."""
        lines = content.split(b"\n")[:-1]
        users = [_user(line) for line in lines]
        kept = [
            line for line, user in zip(lines, users, strict=True) if user is None or not self._is_erased(user)
        ]
        content = b"".join(line + b"\n" for line in kept)
        if None in users:  # written by another version, or by a failing disk
            raise SegmentRefusedError(f"segment {segment_id}: a line is no decision", content)
        if kept:
            self._store(content, segment_id)
        return ShipReport(len(lines), len(kept), quarantined=len(lines) - len(kept))

    def close(self) -> None:
        self._client.close()

    def _store(self, rows: bytes, segment_id: str) -> None:
        response = self._client.post("/", content=rows)
        code = response.headers.get("X-ClickHouse-Exception-Code", "")
        if response.status_code == httpx.codes.OK and not code:
            return
        told = (
            f"segment {segment_id}: {response.status_code}, code {code or 'unknown'}: {response.text[:300]}"
        )
        if code.isdigit() and int(code) in _REFUSED:
            raise SegmentRefusedError(told, rows)
        raise StoreFailedError(told)


def _user(line: bytes) -> str | None:
    """Whose decision it is; None if it is none."""
    try:
        return str(orjson.loads(line)["user_id"])
    except (ValueError, KeyError, TypeError):
        return None
