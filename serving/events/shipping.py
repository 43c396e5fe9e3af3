"""The endpoint's segments into ClickHouse, taking turns with loads and erasures."""

import logging
from collections.abc import Container
from contextlib import ExitStack

import orjson

from ingestion.clickhouse_http import ClickHouseHttp, RowsRefusedError
from ingestion.errors import StoreUnreachableError
from ingestion.event_stream import store_segment
from ingestion.postgres_schema import locked
from serving.spool.spool import SegmentDeclinedError, SegmentRefusedError, ShipReport
from serving.telemetry.tracing import pass_on
from stack.erased_users import opt_out_file, read_opt_out
from stack.settings import Settings

log = logging.getLogger(__name__)

TURN = "load of playback_events"
TURN_TIMEOUT_S = 2.0


class EventShipper:
    """`ship` is called in the spool's thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = ClickHouseHttp(settings, on_request=pass_on)
        self._alone = True

    def ship(self, content: bytes, segment_id: str) -> ShipReport:
        """Store the segment, each event once. Raises `SegmentRefusedError` for rows that no attempt would store,
        `SegmentDeclinedError` for what goes wrong with this segment, and other errors for what keeps all of them
        waiting: a store that is down, a load or an erasure under way."""
        with ExitStack() as turn:
            self._wait_for(turn)
            # Read in our turn: an erasure writes the list first and then deletes in a turn of its own.
            erased = read_opt_out(opt_out_file(self._settings))
            try:
                done = store_segment(self._client, content, segment_id, erased)
            except RowsRefusedError as error:
                raise SegmentRefusedError(str(error), _without(content, erased)) from error
            except StoreUnreachableError:
                raise
            except (
                Exception
            ) as error:  # a poisonous segment must not block the others, whatever is wrong with it
                raise SegmentDeclinedError(f"{type(error).__name__}: {error}") from error
        return ShipReport(done.sent, done.stored, done.duplicate, done.quarantined)

    def close(self) -> None:
        self._client.close()

    def _wait_for(self, turn: ExitStack) -> None:
        """Without Postgres nobody has a turn, so nothing is in the way: neither load nor erasure can run."""
        try:
            turn.enter_context(locked(self._settings, TURN, timeout_s=TURN_TIMEOUT_S))
        except StoreUnreachableError as error:
            if self._alone:
                log.warning("events are stored without taking turns: %s", error)
            self._alone = False
        else:
            self._alone = True


def _without(content: bytes, erased: Container[str]) -> bytes:
    return b"".join(line for line in content.splitlines(keepends=True) if _user(line) not in erased)


def _user(line: bytes) -> str:
    """Empty if the line does not say."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    return str(event.get("user_id", "")) if isinstance(event, dict) else ""
