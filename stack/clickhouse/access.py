"""Who may connect: users from a JSON file, or `default` without a password when there is none."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stack.clickhouse.errors import ClickHouseError


class UsersFileError(Exception):
    """The users file cannot be read; the message names the place."""


class User(BaseModel):
    """`readonly` as ClickHouse's setting: 0 writes, 1 only reads, 2 reads and may change settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    password_sha256: str = Field("", pattern=r"^([0-9a-fA-F]{64})?$")
    readonly: Literal[0, 1, 2] = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought; `given` is False when it brought nothing."""

    user: str
    password: str
    given: bool


class Users:
    """The users of one server."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = users

    @classmethod
    def load(cls, path: Path | None) -> "Users":
        """`{"name": {"password_sha256": "...", "readonly": 0}}`. Raises `UsersFileError`."""
        if path is None:
            return cls({"default": User(password_sha256="")})
        try:
            users = TypeAdapter(dict[str, User]).validate_python(json.loads(path.read_text()))
        except OSError as error:
            raise UsersFileError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            detail = "not JSON"
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                detail = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
            raise UsersFileError(f"{path}: {detail}") from error
        return cls(users)

    @property
    def open_to_all(self) -> bool:
        """Some user needs no password."""
        return any(not user.password_sha256 for user in self._users.values())

    def authenticate(self, credentials: Credentials) -> User:
        """The user. Raises `ClickHouseError`: the same one for an unknown user as for a wrong password."""
        user = self._users.get(credentials.user)
        expected = user.password_sha256 if user else ""
        digest = hashlib.sha256(credentials.password.encode()).hexdigest()
        matches = hmac.compare_digest(digest, expected.lower()) if expected else not credentials.password
        if user is None or not matches:
            raise ClickHouseError(
                516,
                f"{credentials.user}: Authentication failed: password is incorrect, "
                "or there is no user with such name.",
                status=403 if credentials.given else 401,
            )
        return user


def credentials(headers: dict[str, str], params: dict[str, str]) -> Credentials:
    """From `Authorization: Basic`, `X-ClickHouse-User/-Key` or `user`/`password`. Raises `ClickHouseError` for
    more than one of them, or another scheme."""
    ways: list[tuple[str, str]] = []
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise ClickHouseError(
                516, f"Authorization scheme {scheme!r} is not supported, use Basic", status=403
            )
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ClickHouseError(516, "Invalid Basic authorization header", status=403) from error
        ways.append((user, password))
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        ways.append((headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")))
    if "user" in params or "password" in params:
        ways.append((params.get("user", "default"), params.get("password", "")))
    if len(ways) > 1:
        raise ClickHouseError(
            516, "Invalid authentication: it is not allowed to give credentials in several ways", status=403
        )
    if not ways:
        return Credentials("default", "", given=False)
    return Credentials(ways[0][0] or "default", ways[0][1], given=True)
