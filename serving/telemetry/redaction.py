"""No secret in a log line: what looks like one is struck out, and every secret of the settings however it looks."""

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from stack.settings import Settings

STRUCK = "***"
_SHORTEST = 6
"""Of a secret that is struck out wherever it stands: a shorter one would take half the words of a line with it."""

_PATTERNS = (
    # The user and password of a URL; a password may hold anything but a space, a quote or the end of the host.
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s\"'/?#]*@", re.IGNORECASE), rf"\1{STRUCK}@"),
    # A JSON Web Token, wherever it stands. (No pattern may begin with a repetition: a long line would cost its square.)
    (re.compile(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), STRUCK),
    # An API key of ours (serving.security.api_keys): its id may be read, its secret not.
    (re.compile(r"\b(rgk_[0-9a-f]{16}_)[\w-]+"), rf"\1{STRUCK}"),
    (re.compile(r"\b(bearer|basic|apikey)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {STRUCK}"),
    # The data that ClickHouse quotes when it cannot read it: somebody's event.
    (re.compile(r"\bbefore: ('[^']*'?|\"[^\"]*\"?)"), f"before: {STRUCK}"),
    # `password=...`, `"client_secret": "..."`, `X-API-Key: ...`, `access_token='...'`.
    (
        re.compile(
            r"((?:password|passwd|secret|token|api[_-]?key|authorization|cookie)[\"']?\s*[=:]\s*)"
            r"(?:\"[^\"]*\"|'[^']*'|(?!(?:bearer|basic|apikey)\s)[^\s,;&\"'}\])]+)",
            re.IGNORECASE,
        ),
        rf"\1{STRUCK}",
    ),
)  # fmt: skip


class Redaction:
    """Strikes secrets out of a text; linear in its length."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= _SHORTEST}
        ordered = sorted(long_enough, key=len, reverse=True)  # of two, one may begin with the other
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        if self._known:
            text = self._known.sub(STRUCK, text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


def secrets_of(settings: Settings) -> list[str]:
    """Every secret value of the settings, and every password in a URL of them (as written and decoded)."""
    found = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            found.append(value.get_secret_value())
        elif isinstance(value, str) and "@" in value and "://" in value:
            password = urlsplit(value).password
            found += [password, unquote(password)] if password else []
    return found
