"""Cross-origin requests: from exactly the origins that the settings name (the Fetch standard's CORS protocol).

Browsers send no cookie of ours, for there is none: a page brings its token itself, so `Allow-Credentials` is never
said.
"""

from serving.security.response_headers import Headers

_ALLOWED_METHODS = b"GET, POST, HEAD"
_ALLOWED_HEADERS = b"Authorization, Content-Type, Idempotency-Key, X-API-Key, X-Request-ID, traceparent"
_EXPOSED = b"X-Request-ID, X-Bundle-ID, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After"
_KEPT_S = b"600"

VARY = (b"vary", b"Origin")


class Origins:
    """`names`: as in the settings, with commas between; none at all by default."""

    def __init__(self, names: str = "") -> None:
        self._allowed = frozenset(name.strip().encode() for name in names.split(",") if name.strip())

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def allows(self, origin: bytes | None) -> bool:
        return origin in self._allowed

    def answer(self, origin: bytes | None) -> Headers:
        """What an answer says to a page of that origin. Caches keep answers for different origins apart."""
        if not self._allowed:
            return ()
        if origin not in self._allowed or origin is None:
            return (VARY,)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            VARY,
        )

    def preflight(self, origin: bytes) -> Headers:
        """What a browser asks before it sends a request of an allowed origin."""
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", _ALLOWED_METHODS),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", _KEPT_S),
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        )
