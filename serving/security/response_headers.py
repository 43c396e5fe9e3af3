"""What every answer tells a browser: nothing may be guessed, framed, kept or loaded from elsewhere."""

from stack.settings import Settings

Headers = tuple[tuple[bytes, bytes], ...]

_ALWAYS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
# Pages of ours need our own scripts and styles, thumbnails and streams from wherever videos are, and no more.
_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; "
    "img-src 'self' data: https:{sources}; media-src 'self' blob: https:{sources}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ANSWER = b"default-src 'none'; frame-ancestors 'none'"
# Two years. Only over TLS: elsewhere the header means nothing. Not for subdomains, which are others' to decide on.
_HSTS = (b"strict-transport-security", b"max-age=63072000")
DEVELOPMENT = (b"x-reelgraph-development", b"true")
NO_STORE = (b"cache-control", b"no-store")


def page_headers(settings: Settings | None) -> Headers:
    """Of HTML and its files; they say themselves how long they may be kept."""
    sources = f" {settings.peertube_url}" if settings and settings.peertube_url else ""
    policy = (b"content-security-policy", _PAGE.format(sources=sources).encode())
    return (*_ALWAYS, policy, *_for_all(settings))


def answer_headers(settings: Settings | None) -> Headers:
    """Of every other answer."""
    return (*_ALWAYS, (b"content-security-policy", _ANSWER), *_for_all(settings))


def _for_all(settings: Settings | None) -> Headers:
    if settings is None:
        return ()
    secure = (_HSTS,) if settings.tls_certificate_file else ()
    return (*secure, DEVELOPMENT) if settings.development else secure
