"""What kind of statement a client sent and where its parts are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.lexer import Token, quote_string, tokens, unquote
from stack.clickhouse.refusals import refuse_local_access

Kind = Literal["query", "insert", "command", "use", "kill"]

# Statements that end in `[INTO OUTFILE] [FORMAT] [SETTINGS]`, so whose result can be streamed in any format.
_QUERY_WORDS = ("SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "CHECK")
_BEFORE_TARGET = ("INSERT", "INTO", "TABLE", "FUNCTION")
# Words that a GET request of a session may start with: it must not modify data.
READ_WORDS = (*_QUERY_WORDS, "USE", "SET", "(")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement cut into `head + [FORMAT format] + tail`; `data_start` is where an insert's inline data begin."""

    kind: Kind
    first_word: str
    head: str
    format: str | None
    tail: str
    data_start: int | None = None

    @property
    def reads_only(self) -> bool:
        return self.first_word in READ_WORDS


class Undecided(Exception):
    """The text so far does not show where the statement's head ends."""


def _insert(sql: str, found: list[Token], *, complete: bool) -> Statement | None:
    """An `INSERT` whose data follow it; None for `INSERT ... SELECT`. Raises `Undecided`."""
    target_end: int | None = None  # where `FROM INFILE` belongs: before SETTINGS, FORMAT or VALUES
    # A table may be called `format`; what is not a name comes after it.
    start = (
        next((index for index, token in enumerate(found) if not token.is_word(*_BEFORE_TARGET)), len(found))
        + 1
    )
    for index, token in enumerate(found[start:], start):
        if token.depth:
            continue
        following = found[index + 1] if index + 1 < len(found) else None
        if token.is_word("SELECT", "WITH", "WATCH"):
            return None
        if token.text == "(" and following is not None and following.is_word("SELECT", "WITH"):
            return None
        if token.is_word("SETTINGS") and target_end is None:
            target_end = token.start
        if token.is_word("VALUES", "FORMAT"):
            if following is None and not complete:
                raise Undecided
            if token.is_word("VALUES") and following is not None and following.is_word("FORMAT"):
                target_end = token.start if target_end is None else target_end
                continue  # INSERT INTO t VALUES FORMAT Values, as some clients write
            format, end = "Values", token.end
            if token.is_word("FORMAT"):
                if following is None or following.kind != "word":
                    return None  # a syntax error: the engine's to tell
                if following.end == len(sql) and not complete:
                    raise Undecided
                format, end = following.text, _data_start(sql, following.end)
            head = sql[: token.start if target_end is None else target_end]
            settings_end = found[index - 1].start if found[index - 1].is_word("VALUES") else token.start
            settings = "" if target_end is None else sql[target_end:settings_end]
            return Statement("insert", "INSERT", head, format, settings, end)
    if not complete:
        raise Undecided
    return None


def _data_start(sql: str, position: int) -> int:
    """Data begin after `FORMAT name`, blanks and at most one line break, as ClickHouse's parser has it."""
    while position < len(sql) and sql[position] in " \t\f":
        position += 1
    if sql[position : position + 1] == "\r":
        position += 1
    if sql[position : position + 1] == "\n":
        position += 1
    return position


def analyse(sql: str, *, complete: bool = True) -> Statement:
    """Take `sql` (latin-1 text) apart. With `complete=False` it may be the beginning of a longer text: raises
    `Undecided` when more of it is needed. Raises `ClickHouseError` for what a server would refuse, too."""
    found = list(tokens(sql))
    if not found:
        if not complete:
            raise Undecided
        raise ClickHouseError(62, "Syntax error: failed at position 1 (end of query): Empty query")
    first = found[0]
    word = first.text.upper()
    if word == "INSERT":
        statement = _insert(sql, found, complete=complete)
        if statement is not None:
            head_tokens = [token for token in found if token.end <= (statement.data_start or 0)]
            refuse_local_access(head_tokens)
            return statement
    if not complete:
        raise Undecided
    while found and found[-1].text == ";":
        sql = sql[: found.pop().start]
    for token in found:
        if token.text == ";" and token.depth == 0:
            raise ClickHouseError(
                62,
                f"Syntax error (Multi-statements are not allowed): failed at position {token.start + 1} (end of query)",
            )
    refuse_local_access(found)
    if not found:
        raise ClickHouseError(62, "Syntax error: failed at position 1 (end of query): Empty query")
    if word == "USE":
        return Statement("use", word, sql, None, "")
    if word == "KILL":
        return _split(sql, found, "kill", word)
    return _split(sql, found, "query" if word in _QUERY_WORDS or word == "(" else "command", word)


def _split(sql: str, found: list[Token], kind: Kind, word: str) -> Statement:
    """Cut at the last `FORMAT name` that ends the statement or stands before its last `SETTINGS`."""
    for index in range(len(found) - 2, 0, -1):
        token, name = found[index], found[index + 1]
        if token.is_word("FORMAT") and token.depth == 0 and name.kind == "word":
            rest = found[index + 2 :]
            if not rest or rest[0].is_word("SETTINGS"):
                return Statement(kind, word, sql[: token.start], name.text, sql[name.end :])
            break
    return Statement(kind, word, sql, None, "")


def replace_strings(sql: str, replacement: Callable[[str], str | None]) -> str:
    """`sql` with the string literals whose value `replacement` has another for."""
    parts: list[str] = []
    position = 0
    for token in tokens(sql):
        if token.kind == "string":
            other = replacement(unquote(token.text))
            if other is not None:
                parts += [sql[position : token.start], quote_string(other)]
                position = token.end
    return "".join([*parts, sql[position:]])
