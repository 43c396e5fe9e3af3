"""The API keys in force, as the endpoint holds them: looked up by id and read again when they change."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

from serving.security.api_keys import PREFIX, ApiKeysFileError, StoredKey, hash_of, read_keys
from serving.security.principal import Kind, Principal

log = logging.getLogger(__name__)

_LONGEST = 128  # bytes; a key has 64
_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True)
class _Held:
    sha256: str
    principal: Principal
    expires: float


class KeyRing:
    """`refresh` is for a thread, `find` for the event loop: what it reads is replaced whole."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._held: dict[str, _Held] = {}
        self.trouble: str | None = None
        """Why the file is not in force as it stands; the last good one is."""

    def __len__(self) -> int:
        return len(self._held)

    def find(self, text: str) -> Principal | None:
        """Whose key it is; None for what is no key of ours, or no longer."""
        parts = text.split("_", 2) if len(text) <= _LONGEST else []
        if len(parts) != 3 or parts[0] != PREFIX:
            return None
        held = self._held.get(parts[1])
        # A key that nobody has takes as long as a wrong secret.
        same = compare_digest(hash_of(parts[2]), held.sha256 if held else _NOBODY)
        if held is None or not same or self._clock() >= held.expires:
            return None
        return held.principal

    def refresh(self) -> None:
        """Take up the file if it changed. A broken one leaves the last good one in force; one that was deleted ends
        all keys: whoever deletes it means that."""
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            seen = (0, 0, 0)
        except OSError as error:
            self._failed(f"{self._path.name} cannot be read: {error.strerror}")
            return
        if seen == self._seen:
            return
        try:
            keys = read_keys(self._path)
        except ApiKeysFileError as error:
            self._seen = seen
            self._failed(str(error))
            return
        self._seen = seen
        self.trouble = None
        held = {key.id: _held(key) for key in keys if key.revoked_at is None}
        if held.keys() != self._held.keys():
            log.info("%d API keys are in force", len(held))
        self._held = held

    def _failed(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("the API keys stay the last good ones: %s", trouble)
        self.trouble = trouble


def _held(key: StoredKey) -> _Held:
    principal = Principal(key.name, Kind.SERVICE, key.roles, f"key:{key.id}")
    return _Held(key.sha256, principal, key.expires_at.timestamp() if key.expires_at else float("inf"))
