"""Decides on a request: who asks, whether they may, and whether they asked too often."""

import asyncio
import logging
from ipaddress import IPv6Address, ip_address

from fastapi import Request

from serving.security.api_keys import keys_file
from serving.security.key_ring import KeyRing
from serving.security.metrics import SecurityMetrics
from serving.security.policy import Rule, allows
from serving.security.principal import ANONYMOUS, DEVELOPER, Kind, Principal
from serving.security.rate_limit import RateLimiter, Verdict
from serving.security.refusal import Refused
from serving.security.request_head import Head
from serving.security.shared_counts import SharedCounts
from serving.security.tokens import TokenError, tokens_of
from serving.telemetry.metrics import Metrics
from stack.settings import LOOPBACK, Settings

log = logging.getLogger(__name__)

SERVICE_MULTIPLE = 100
"""A service asks for many users: its key may make this many times what one of them may."""

FAILURES_PER_MINUTE = 60
"""Bad credentials from one address before it is told to wait; good ones pass all the same, seen before or not."""

KEYS_EVERY_S = 0.5

_REALM = 'Bearer realm="reelgraph"'


class Security:
    """One endpoint's gate. All of it runs on the event loop and waits for nothing, but for two tasks of its own."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Raises `SecurityConfigurationError` for a key that cannot check anything."""
        self.development = settings.development
        self.metrics = SecurityMetrics(metrics.registry)
        self.keys = KeyRing(keys_file(settings))
        self.limiter = RateLimiter()
        self._settings = settings
        self._user_limit = settings.rate_limit_per_minute
        self._service_limit = settings.rate_limit_per_minute * SERVICE_MULTIPLE
        self._tokens = tokens_of(settings)
        self._shared = SharedCounts(settings.redis_url, self.limiter, metrics)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read the keys, say how open the endpoint is, and begin to watch."""
        if self.development:
            _say_open(self._settings)
            return
        self.keys.refresh()
        self._measure()
        self._say_closed()
        self._task = asyncio.create_task(self._watch(), name="api-keys")
        self._shared.start()

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._shared.close()

    def admit(self, rule: Rule, head: Head, address: str) -> tuple[Principal, Verdict | None]:
        """Who asks, and how much of their limit is left (None where none applies). Raises `Refused`."""
        if self.development:
            return DEVELOPER, None
        if rule.access.is_public:
            return ANONYMOUS, None
        principal = self._identify(head, address)
        if not allows(rule.access, principal):
            raise Refused(403, f"this needs {rule.access.value}", "role")
        limit = self._user_limit if principal.kind is Kind.USER else self._service_limit
        verdict = self.limiter.take(principal.counted_as, limit)
        if not verdict.allowed:
            raise Refused(429, f"more than {limit} requests in a minute", "rate", limit_headers(verdict))
        return principal, verdict

    def may_act_for(self, request: Request, user_id: str) -> bool:
        """Whether the request may ask for, or speak for, that user."""
        principal: Principal = getattr(request.state, "principal", ANONYMOUS)
        return principal.acts_for(user_id)

    def _identify(self, head: Head, address: str) -> Principal:
        if head.credentials == 0:
            detail = "a bearer token or an API key is needed"
            raise Refused(401, detail, "missing", {"WWW-Authenticate": f"{_REALM}, ApiKey"})
        if head.credentials > 1:
            raise _unproven("send one credential, not several", "ambiguous", "invalid_request")
        if head.api_key is not None:
            principal = self.keys.find(head.api_key.decode("latin-1"))
            if principal is None:
                self._count_failure(address)
                raise _unproven("the API key is not valid", "api_key")
            return principal
        return self._by_token(head.token or b"", address)

    def _by_token(self, token: bytes, address: str) -> Principal:
        known = self._tokens.remembered(token) if self._tokens else None
        if known is not None:
            return known
        if self._tokens is None:
            self._count_failure(address)
            raise _unproven("the token is not valid", "token")
        try:
            return self._tokens.verify(token)
        except TokenError as error:
            log.debug("a token was refused: %s", error)
            if (
                error.expired
            ):  # we signed it: no guess, and many clients behind one address may be late at once
                raise _unproven("the token has expired", "expired") from error
            self._count_failure(address)
            raise _unproven("the token is not valid", "token") from error

    def _count_failure(self, address: str) -> None:
        verdict = self.limiter.take(f"address:{_network(address)}", FAILURES_PER_MINUTE)
        if not verdict.allowed:
            headers = {"Retry-After": str(verdict.retry_after)}
            raise Refused(429, "too many bad credentials from this address", "failures", headers)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(KEYS_EVERY_S)
            try:
                await asyncio.to_thread(self.keys.refresh)
            except Exception:  # the task must outlive whatever it meets: the keys in force stay
                log.exception("the API keys were not read")
            self._measure()

    def _measure(self) -> None:
        self.metrics.keys.set(len(self.keys))
        self.metrics.keys_broken.set(self.keys.trouble is not None)
        self.metrics.callers.set(len(self.limiter))

    def _say_closed(self) -> None:
        by = []
        if self._tokens:
            by.append(f"{self._settings.jwt_algorithm} tokens")
        if len(self.keys):
            by.append(f"{len(self.keys)} API keys")
        if by:
            log.info("the endpoint is closed: it answers to %s", " and ".join(by))
        else:
            log.warning(
                "the endpoint is closed and nobody has a key: make one with `reelgraph keys create --name NAME "
                "--role client`, or set REELGRAPH_JWT_PUBLIC_KEY_FILE (docs/security.md)"
            )


def limit_headers(verdict: Verdict) -> dict[str, str]:
    """Of a 429: when to come back, and the limit that was reached."""
    return {
        "Retry-After": str(verdict.retry_after),
        "RateLimit-Limit": str(verdict.limit),
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": str(verdict.retry_after),
    }


def _unproven(detail: str, reason: str, error: str = "invalid_token") -> Refused:
    challenge = f'{_REALM}, error="{error}", error_description="{detail}"'
    return Refused(401, detail, reason, {"WWW-Authenticate": challenge})


def _network(address: str) -> str:
    """An address as it is limited: one household has 2^64 of IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> 64)
    return address


def _say_open(settings: Settings) -> None:
    log.warning(
        "REELGRAPH_DEVELOPMENT is on: EVERYBODY MAY DO EVERYTHING here, without a key and without a limit. "
        "For a laptop only."
    )
    if settings.bind_host not in (LOOPBACK, "::1", "localhost"):
        log.warning("and the endpoint listens on %s, beyond this machine", settings.bind_host)
