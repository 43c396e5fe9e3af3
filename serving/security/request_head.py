"""What security reads of a request's head, in one pass over it."""

from collections.abc import Iterable

MAX_ADDRESS_BYTES = 8192
MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100


class Head:
    """The headers that decide; `credentials` counts how many were sent, of which one is enough."""

    __slots__ = ("api_key", "credentials", "length", "origin", "preflight", "size", "token")

    def __init__(self) -> None:
        self.token: bytes | None = None
        self.api_key: bytes | None = None
        self.origin: bytes | None = None
        self.preflight = False
        self.length: bytes | None = None
        self.size = 0
        self.credentials = 0


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """ASGI gives names in lower case."""
    head = Head()
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"authorization":
            head.credentials += 1
            scheme, _, rest = value.partition(b" ")
            kind = scheme.lower()
            if kind == b"bearer":
                head.token = rest.strip()
            elif kind == b"apikey":
                head.api_key = rest.strip()
            else:
                head.token = b""  # a scheme that we don't take proves nothing
        elif name == b"x-api-key":
            head.credentials += 1
            head.api_key = value.strip()
        elif name == b"origin":
            head.origin = value
        elif name == b"content-length":
            head.length = value
        elif name == b"access-control-request-method":
            head.preflight = True
    head.size = size
    return head
