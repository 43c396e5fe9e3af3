"""What the engine could do and a server must not: reach its own files, start programs, end the process."""

from itertools import pairwise

from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.lexer import Token, unquote

# The engine is a local one: left alone, these table functions, engines, disks and dictionary sources would read
# and write any file of the user it runs as, or start programs; `url` takes `file://`. A ClickHouse server confines
# or forbids them.
_LOCAL = frozenset(
    (
        *(
            "file",
            "filecluster",
            "filelog",
            "filesystem",
            "url",
            "urlcluster",
            "python",
            "sqlite",
            "disk",
        ),
        *("executable", "executablepool", "hdfs", "hdfscluster"),
        *("deltalakelocal", "iceberglocal", "icebergdisk", "hudilocal", "paimonlocal"),
    )
)
_PROCESS_WORDS = ("SHUTDOWN", "KILL", "SUSPEND")


def _refuse_name(token: Token) -> None:
    if token.kind in ("word", "quoted"):
        name = token.text if token.kind == "word" else unquote(token.text)
        if name.lower() in _LOCAL:
            raise ClickHouseError(
                344, f"{name} reaches the server's own files or programs: not available here"
            )


def refuse_local_access(found: list[Token]) -> None:
    """Raises `ClickHouseError` if the statement of these tokens is one of those."""
    of_engine = False  # the next word names an engine
    for token, following in pairwise(found):
        if following.text == "(":
            _refuse_name(token)
        of_engine = token.is_word("ENGINE") or (of_engine and token.text == "=")
        if of_engine:
            _refuse_name(following)
        if token.is_word("INTO") and following.is_word("OUTFILE"):
            raise ClickHouseError(48, "INTO OUTFILE is not allowed here: the result is the response")
        if token.is_word("FROM") and following.is_word("INFILE"):
            raise ClickHouseError(48, "FROM INFILE is not allowed here: send the data in the request's body")
        if token is found[0] and token.is_word("SYSTEM") and following.is_word(*_PROCESS_WORDS):
            raise ClickHouseError(
                344, f"SYSTEM {following.text.upper()} is not available here: stop the process"
            )
