"""ClickHouse's errors as its HTTP interface reports them: a code, a name, a message and an HTTP status."""

import re

# Codes and names are ClickHouse's own (src/Common/ErrorCodes.cpp); only those we raise ourselves are listed.
NAMES = {
    36: "BAD_ARGUMENTS",
    48: "NOT_IMPLEMENTED",
    62: "SYNTAX_ERROR",
    81: "UNKNOWN_DATABASE",
    164: "READONLY",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    271: "CANNOT_DECOMPRESS",
    307: "TOO_MANY_BYTES",
    344: "SUPPORT_IS_DISABLED",
    372: "SESSION_NOT_FOUND",
    373: "SESSION_IS_LOCKED",
    374: "INVALID_SESSION_TIMEOUT",
    394: "QUERY_WAS_CANCELLED",
    516: "AUTHENTICATION_FAILED",
    1002: "UNKNOWN_EXCEPTION",
}

# HTTP status by code, as `exceptionCodeToHTTPStatus` of ClickHouse maps them; anything else is 500.
_BAD_REQUEST = (
    6,
    8,
    25,
    26,
    27,
    33,
    36,
    38,
    41,
    43,
    44,
    47,
    53,
    62,
    69,
    72,
    117,
    167,
    168,
    271,
    321,
    374,
    427,
)
_BAD_REQUEST_MORE = (441, 456, 457, 675, 676)
_NOT_FOUND = (46, 50, 56, 60, 63, 73, 78, 79, 81, 115, 336, 372)
_STATUS = {
    **dict.fromkeys(_BAD_REQUEST + _BAD_REQUEST_MORE, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    47: 404,  # UNKNOWN_IDENTIFIER
    48: 501,
    159: 408,  # TIMEOUT_EXCEEDED
    192: 403,
    193: 403,
    194: 401,  # REQUIRED_PASSWORD
    202: 500,
    307: 413,
    497: 403,  # ACCESS_DENIED
    516: 403,
}

_CODE = re.compile(r"Code: (\d+)\. DB::Exception: ", re.DOTALL)
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*(?:\(version [^()]*(?:\([^()]*\))?\))?\.?\s*$")
# What our own plumbing (a pipe in place of the client's connection) adds to the engine's messages.
_PLUMBING = re.compile(
    r": \(in file/uri /dev/fd/\d+\)|: While executing File: data for INSERT was parsed from file"
    r"|\s*\(version [\d.]+\)"
)


class ClickHouseError(Exception):
    """What a client is told: `code` and `name` of ClickHouse, `message` without them, the HTTP `status`."""

    def __init__(
        self, code: int, message: str, *, name: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.name = name or NAMES.get(code, "UNKNOWN_EXCEPTION")
        self.message = message
        self.status = status or _STATUS.get(code, 500)

    def text(self, version: str) -> str:
        """The body of an error response: `Code: N. DB::Exception: ... (NAME) (version ...)`."""
        return f"Code: {self.code}. DB::Exception: {self.message} ({self.name}) (version {version} (official build))"


def from_engine(error: BaseException) -> ClickHouseError:
    """The engine reports failures as text; take it apart."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError):  # the message quotes a query that is not UTF-8
        text = error.object.decode("utf-8", "replace")
    matches = list(_CODE.finditer(text))
    if not matches:
        return ClickHouseError(1002, text)
    first = matches[0]
    code = int(first.group(1))
    # A failure while reading an insert's data is wrapped in itself: "Code: 27. ...: Code: 27. ...: what happened".
    start = first.end()
    for match in matches[1:]:
        if match.start() != start or int(match.group(1)) != code:
            break
        start = match.end()
    message = text[start:].strip()
    name_match = _NAME.search(message)
    name = name_match.group(1) if name_match else None
    while name_match := _NAME.search(message):
        if name_match.group(1) != name:
            break
        message = message[: name_match.start()].rstrip(" .\n")
    message = _PLUMBING.sub("", message).strip()
    return ClickHouseError(code, message + ("." if message and message[-1] not in ".)" else ""), name=name)
