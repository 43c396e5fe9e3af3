"""Who was erased, as pseudonyms: what lets the loaders refuse a user and the endpoint forget one, without their id.

A pseudonym is keyed BLAKE2b of the id (a MAC, several times as fast as HMAC-SHA256: loads hash every id they meet). The
key is made at the first erasure and kept in Postgres. Whoever has key and list can test an id they already know, and
learn nothing else.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path

from stack.settings import Settings


class OptOutFileError(Exception):
    """The opt-out list cannot be read; the message says why."""


def pseudonym(key: bytes, user_id: str) -> str:
    """64 hex digits that stand for the user."""
    return blake2b(user_id.encode("utf-8", "surrogatepass"), key=key, digest_size=32).hexdigest()


@dataclass(frozen=True)
class ErasedUsers:
    """The users whose data must never come back: `user_id in erased`. Empty (and false) while there are none."""

    key: bytes = b""
    hashes: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.hashes)

    def __contains__(self, user_id: object) -> bool:
        if not self.hashes or not isinstance(user_id, str):
            return False
        return pseudonym(self.key, user_id) in self.hashes

    @property
    def version(self) -> str:
        """16 hex digits that differ whenever the list does."""
        content = "\n".join([self.key.hex(), *sorted(self.hashes)])
        return sha256(content.encode()).hexdigest()[:16]


def opt_out_file(settings: Settings) -> Path:
    """Where the endpoint finds the list, beside the pointer to its bundle: it must not need Postgres or Redis."""
    return settings.home / "opt_out.json"


def write_opt_out(settings: Settings, erased: ErasedUsers) -> None:
    """Replace the endpoint's list, atomically."""
    path = opt_out_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"key": erased.key.hex(), "users": sorted(erased.hashes)})
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".opt_out-", delete=False) as fresh:
        fresh.write(content)
        fresh.flush()
        os.fsync(fresh.fileno())
    Path(fresh.name).replace(path)


def read_opt_out(path: Path) -> ErasedUsers:
    """The list in a file, empty if there is none; raises `OptOutFileError`."""
    try:
        content = json.loads(path.read_bytes())
        return ErasedUsers(bytes.fromhex(content["key"]), frozenset(map(str, content["users"])))
    except FileNotFoundError:
        return ErasedUsers()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptOutFileError(f"{path.name} cannot be read: {type(error).__name__}: {error}") from error
