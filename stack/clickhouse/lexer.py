"""ClickHouse's SQL, cut into tokens: enough to find where a statement's parts begin, never to rewrite values.

Works on text decoded as latin-1, so that a position in it is a position in the bytes a client sent.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>  [\s\0]+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<heredoc> \$(?P<tag>\w*)\$ .*? (?: \$(?P=tag)\$ | \Z ) )
    | (?P<string> ' (?: [^'\\]++ | \\. | '' )*+ '? )
    | (?P<quoted> ` (?: [^`\\]++ | \\. | `` )*+ `? | " (?: [^"\\]++ | \\. | "" )*+ "? )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_$]* )
    | (?P<number> [0-9][0-9A-Za-z_.]* )
    | (?P<mark>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN = {"(", "[", "{"}
_CLOSE = {")", "]", "}"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)|''", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # word, quoted, string, heredoc, number, mark
    text: str
    start: int
    end: int
    depth: int  # of brackets around it; a bracket itself has the depth outside it

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of `sql` without white space and comments, in order."""
    depth = 0
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:  # pragma: no cover - `mark` takes any character
            return
        kind = match.lastgroup or "mark"
        text = match.group()
        if kind != "space":
            if kind == "mark" and text in _CLOSE:
                depth = max(0, depth - 1)
            yield Token(kind, text, match.start(), match.end(), depth)
            if kind == "mark" and text in _OPEN:
                depth += 1
        position = match.end()


def sql_text(value: str) -> str:
    """A decoded string as our SQL text: its UTF-8 bytes read as latin-1."""
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def plain_text(value: str) -> str:
    """The reverse of `sql_text`."""
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


def unquote(text: str) -> str:
    """The value of a string literal or a quoted identifier as the engine reads it."""
    quote = text[0]
    inner = text[1:-1] if len(text) > 1 and text[-1] == quote else text[1:]

    def plain(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape is None:
            return "'"
        if len(escape) == 3:
            return chr(int(escape[1:], 16))
        return _ESCAPES.get(escape, escape)

    value = _ESCAPE.sub(plain, inner)
    return value if quote == "'" else value.replace(quote * 2, quote)


def quote_string(value: str) -> str:
    """`value` as a string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_identifier(name: str) -> str:
    """`name` as an identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def escape_parameter(value: str) -> str:
    """`value` as a query parameter carries it: escaped as in TabSeparated."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
