"""A key for our own programs that call the endpoint: made for the moment, gone afterwards."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from secrets import token_hex
from typing import TYPE_CHECKING

from serving.security.api_keys import create_key, forget_key, keys_file
from serving.security.principal import Role
from stack.settings import Settings

if TYPE_CHECKING:
    import httpx

TAKEN_UP_S = 5.0
"""How long to wait for the endpoint, which looks at the file of keys twice a second."""

_ASK_EVERY_S = 0.1


class KeyNotTakenError(Exception):
    """The endpoint does not know a key from this home's file: it reads another one."""


@contextmanager
def own_key(settings: Settings, client: "httpx.Client", minutes: float = 60) -> Iterator[None]:
    """While inside, `client` may call the endpoint for anybody. Nothing is made in development mode.

    Raises `KeyNotTakenError`, `ApiKeysFileError`, and httpx's errors if the endpoint does not answer.
    """
    if settings.development:
        yield
        return
    path = keys_file(settings)
    key, text = create_key(path, f"own-{token_hex(4)}", [Role.CLIENT], timedelta(minutes=minutes))
    client.headers["X-API-Key"] = text
    try:
        _wait_until_taken(settings, client)
        yield
    finally:
        del client.headers["X-API-Key"]
        forget_key(path, key.id)


def _wait_until_taken(settings: Settings, client: "httpx.Client") -> None:
    deadline = time.monotonic() + TAKEN_UP_S
    while client.get(f"{settings.endpoint_url}/metrics").status_code == 401:
        if time.monotonic() > deadline:
            raise KeyNotTakenError(
                f"the endpoint at {settings.endpoint_url} does not take a key made in "
                f"{keys_file(settings).name} of this home: it reads another file (REELGRAPH_API_KEYS_FILE), "
                "or runs in another home"
            )
        time.sleep(_ASK_EVERY_S)
