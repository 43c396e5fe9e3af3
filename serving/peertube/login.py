"""Our session at PeerTube: OAuth2 by password, renewed before it ends or when PeerTube no longer takes it."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx

from serving.peertube.errors import PeerTubeLoginError
from serving.peertube.retries import TryAgainError, retry_after

RENEW_BEFORE_S = 60.0
UNSAID_LIFETIME_S = 3600.0


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str
    renew_at: float  # of the monotonic clock


class Login:
    """Gives the `Authorization` header. However many ask at once, one of them logs in."""

    def __init__(self, http: httpx.AsyncClient, username: str | None, password: str | None) -> None:
        self._http = http
        self._username = username
        self._password = password
        self._tokens: Tokens | None = None
        self._client: dict[str, str] | None = None
        self._one = asyncio.Lock()

    @property
    def possible(self) -> bool:
        """Whether a user and a password are set."""
        return bool(self._username and self._password)

    async def header(self, refused: str | None = None) -> dict[str, str]:
        """`refused`: an access token that PeerTube has just answered 401 to, which is not given again.

        Raises `PeerTubeLoginError`, `TryAgainError`."""
        async with self._one:
            tokens = self._tokens
            if tokens and tokens.access != refused and time.monotonic() < tokens.renew_at:
                return {"Authorization": f"Bearer {tokens.access}"}
            self._tokens = await self._renewed(tokens)
            return {"Authorization": f"Bearer {self._tokens.access}"}

    async def _renewed(self, old: Tokens | None) -> Tokens:
        if not self.possible:
            raise PeerTubeLoginError("no user of PeerTube is set (REELGRAPH_PEERTUBE_USERNAME)", 401)
        if old is not None:
            try:
                return await self._token(grant_type="refresh_token", refresh_token=old.refresh)
            except PeerTubeLoginError:
                self._client = None  # a refresh token ends too, and a reinstalled PeerTube has another client
        return await self._token(
            grant_type="password",
            response_type="code",
            username=self._username or "",
            password=self._password or "",
        )

    async def _token(self, **grant: str) -> Tokens:
        if self._client is None:
            found = _json(
                await self._send("GET", "/api/v1/oauth-clients/local"), "client_id", "client_secret"
            )
            self._client = {name: str(found[name]) for name in ("client_id", "client_secret")}
        response = await self._send("POST", "/api/v1/users/token", data={**self._client, **grant})
        found = _json(response, "access_token", "refresh_token")
        ends = time.monotonic() + _lifetime_s(found.get("expires_in")) - RENEW_BEFORE_S
        return Tokens(str(found["access_token"]), str(found["refresh_token"]), ends)

    async def _send(self, method: str, path: str, data: dict[str, str] | None = None) -> httpx.Response:
        try:
            response = await self._http.request(method, path, data=data)
        except httpx.TransportError as error:
            raise TryAgainError(f"PeerTube does not answer ({type(error).__name__})") from error
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            after = retry_after(response.headers.get("Retry-After"))
            raise TryAgainError(f"PeerTube answers {response.status_code} to a login", after)
        if response.is_error:
            raise PeerTubeLoginError("PeerTube does not accept our login", response.status_code)
        return response


def _lifetime_s(expires_in: Any) -> float:
    """OAuth2 leaves it to the server to say: an hour then, and a 401 before that renews too."""
    if expires_in is None:
        return UNSAID_LIFETIME_S
    try:
        return float(expires_in)
    except (TypeError, ValueError) as error:
        raise TryAgainError("PeerTube's answer to a login says in no number how long it holds") from error


def _json(response: httpx.Response, *needed: str) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError as error:
        raise TryAgainError("PeerTube's answer to a login is not JSON") from error
    if not isinstance(found, dict) or any(name not in found for name in needed):
        raise TryAgainError("PeerTube's answer to a login lacks what it must have")
    return found
