"""API keys of services: made here, shown once, kept as hashes in one file.

A key is `rgk_<id>_<secret>`; the secret has 256 random bits. Nobody guesses one of 2^256, however quickly they try, so
a plain SHA-256 keeps it: the slow hashes are for passwords, which people choose, and would cost every request 50 ms.
"""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from serving.security.principal import Role
from stack.settings import Settings

PREFIX = "rgk"
_ID_BYTES, _SECRET_BYTES = 8, 32

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ApiKeysFileError(Exception):
    """The file cannot be read or written, or holds no keys; the message says why."""


class KeyNameError(Exception):
    """A key of that name is in use, or there is none; the message says which."""


class StoredKey(BaseModel):
    """What is kept of a key. Times are UTC; without `expires_at` it is good until revoked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=rf"^[0-9a-f]{{{2 * _ID_BYTES}}}$")
    name: Name
    roles: frozenset[Role] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the secret")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    def good_at(self, moment: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


class KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(1, ge=1, le=1)
    keys: list[StoredKey] = Field(default_factory=list, max_length=10_000)


def keys_file(settings: Settings) -> Path:
    """Where the keys are: beside the pointer to the bundle, unless the settings say otherwise."""
    return settings.api_keys_file or settings.home / "api_keys.json"


def hash_of(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> list[StoredKey]:
    """The keys in a file, none if there is no file. Raises `ApiKeysFileError`."""
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ApiKeysFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ApiKeysFileError(f"{path.name} is no file of keys: {place}: {first['msg']}") from error


def create_key(
    path: Path, name: str, roles: Iterable[Role], lifetime: timedelta | None = None
) -> tuple[StoredKey, str]:
    """A new key, and its text: the only time that is to be had.

    Raises `KeyNameError` if a good key has the name, `ApiKeysFileError`, and `ValueError` for a name that cannot be.
    """
    now = datetime.now(UTC)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    made = StoredKey(
        id=secrets.token_hex(_ID_BYTES),
        name=name,
        roles=frozenset(roles),
        sha256=hash_of(secret),
        created_at=now,
        expires_at=now + lifetime if lifetime else None,
    )

    def added(keys: list[StoredKey]) -> list[StoredKey]:
        if any(key.name == name and key.good_at(now) for key in keys):
            raise KeyNameError(f"there is a key named {name}: revoke it first, or choose another name")
        return [*keys, made]

    _change(path, added)
    return made, f"{PREFIX}_{made.id}_{secret}"


def revoke_key(path: Path, name: str) -> StoredKey:
    """End the key of that name; it stays on the list. Raises `KeyNameError` and `ApiKeysFileError`."""
    now = datetime.now(UTC)
    ended: list[StoredKey] = []

    def revoked(keys: list[StoredKey]) -> list[StoredKey]:
        good = next((key for key in keys if key.name == name and key.good_at(now)), None)
        if good is None:
            raise KeyNameError(f"no key named {name} is in force")
        ended.append(good.model_copy(update={"revoked_at": now}))
        return [ended[0] if key is good else key for key in keys]

    _change(path, revoked)
    return ended[0]


def forget_key(path: Path, key_id: str) -> None:
    """Take a key off the list; for one that was made for a moment."""
    _change(path, lambda keys: [key for key in keys if key.id != key_id])


def _change(path: Path, change: Callable[[list[StoredKey]], list[StoredKey]]) -> None:
    """One writer at a time, the file replaced whole; nobody but its owner reads it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _replace(path, KeyFile(keys=change(read_keys(path))))
    except OSError as error:
        raise ApiKeysFileError(f"{path.name} cannot be written: {error.strerror}") from error


def _replace(path: Path, content: KeyFile) -> None:
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(fresh).unlink()
        raise
