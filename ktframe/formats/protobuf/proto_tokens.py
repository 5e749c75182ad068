"""The tokens of ``.proto`` source text, and a cursor that moves through them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, NoReturn

END: Final = ""
"""The text of the token after the last one."""

_TOKEN = re.compile(
    r"""
      (?P<space>  \s+ | //[^\n]* | /\*.*?\*/ )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
    | (?P<number> 0[xX][0-9a-fA-F]+ | (?: [0-9]+\.?[0-9]* | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? [fF]? )
    | (?P<string> "(?: [^"\\\n] | \\. )*" | '(?: [^'\\\n] | \\. )*' )
    | (?P<symbol> [{}\[\]()<>=;,.:/+-] )
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPE = re.compile(
    r"\\(?:[xX]([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)

_CLOSING: Final = {"{": "}", "[": "]", "(": ")", "<": ">"}
_INT32: Final = range(-(2**31), 2**31)
_SHORT = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class SourceError(Exception):
    """A text is not a ``.proto`` file; the message says where."""


class Token(NamedTuple):
    """A word, number, string or symbol, and its line."""

    kind: str
    text: str
    line: int


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens of ``source``, and one of kind ``"end"`` after them.

    Raises
    ------
    SourceError
        At a character that begins no token.
    """
    at, line = 0, 1
    source = source.removeprefix("\ufeff")
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            message = f"line {line}: {source[at]!r} is not expected here"
            raise SourceError(message)
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match.group(), line)
        line += match.group().count("\n")
        at = match.end()
    yield Token("end", END, line)


def unquoted(literal: str) -> bytes:
    """Return the bytes that a string literal stands for."""
    parts: list[bytes] = []
    at = 1
    for match in _ESCAPE.finditer(literal, 1, len(literal) - 1):
        parts += [literal[at : match.start()].encode(), _escaped(match)]
        at = match.end()
    return b"".join([*parts, literal[at:-1].encode()])


def _escaped(match: re.Match[str]) -> bytes:
    hexadecimal, octal, short, long, letter = match.groups()
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if octal:
        return bytes([int(octal, 8) & 0xFF])
    if short or long:
        point = int(short or long, 16)
        return chr(point).encode("utf-8", "replace") if point <= 0x10FFFF else b"?"  # noqa: PLR2004 - Unicode's last
    return _SHORT.get(letter, letter).encode()


def integer(text: str) -> int:
    """Return the integer in ``text``, with C's prefixes for octal and hexadecimal; raises ValueError as ``int`` does."""
    if text[:2] in {"0x", "0X"}:
        return int(text, 16)
    return int(text, 8 if text.startswith("0") and text != "0" else 10)


class Cursor:
    """A position in the tokens of one file. Its methods read tokens and move on, or raise SourceError."""

    def __init__(self, source: str) -> None:
        self._tokens = list(tokens(source))
        self._at = 0

    @property
    def next(self) -> str:
        """The text of the next token."""
        return self._tokens[self._at].text

    @property
    def kind(self) -> str:
        """The kind of the next token."""
        return self._tokens[self._at].kind

    def ahead(self, count: int) -> str:
        """Return the text of the token ``count`` after the next one."""
        return self._tokens[min(self._at + count, len(self._tokens) - 1)].text

    def kind_ahead(self, count: int) -> str:
        """Return the kind of the token ``count`` after the next one."""
        return self._tokens[min(self._at + count, len(self._tokens) - 1)].kind

    def take(self) -> Token:
        """Read one token of any kind."""
        if self.kind == "end":
            self.fail("more")
        self._at += 1
        return self._tokens[self._at - 1]

    def took(self, *texts: str) -> bool:
        """Read the next token if it is one of these words or symbols; return whether it was."""
        is_here = self.kind in {"word", "symbol"} and self.next in texts
        self._at += is_here
        return is_here

    def expect(self, text: str) -> None:
        """Read this word or symbol."""
        if not self.took(text):
            self.fail(repr(text))

    def fail(self, wanted: str) -> NoReturn:
        """Raise SourceError: the next token is not what is ``wanted``."""
        token = self._tokens[self._at]
        what = "the end" if token.kind == "end" else repr(token.text)
        message = f"line {token.line}: {what} where {wanted} should be"
        raise SourceError(message)

    def of_kind(self, kind: str) -> str:
        """Read a token of this kind."""
        if self.kind != kind:
            self.fail(f"a {kind}")
        return self.take().text

    def text(self) -> bytes:
        """Read a string, which may be written as several literals."""
        parts = [unquoted(self.of_kind("string"))]
        while self.kind == "string":
            parts.append(unquoted(self.take().text))
        return b"".join(parts)

    def path(self) -> str:
        """Read a name with dots in it."""
        parts = ["." if self.took(".") else "", self.of_kind("word")]
        while self.took("."):
            parts += [".", self.of_kind("word")]
        return "".join(parts)

    def integer(self) -> int:
        """Read an integer of 32 bits."""
        sign = -1 if self.took("-") else 1
        try:
            value = sign * integer(self.next)
        except ValueError:
            value = _INT32.stop
        if value not in _INT32:
            self.fail("an integer of 32 bits")
        self._at += 1
        return value

    def skip_statement(self) -> None:
        """Skip everything up to and with a semicolon or a block."""
        while not self.took(";"):
            is_block = self.next == "{"
            self.skip_brackets()
            if is_block:
                return

    def skip_brackets(self) -> list[str]:
        """Skip one token, or the brackets that it opens with all they hold; return the texts that were skipped."""
        skipped: list[str] = []
        expected: list[str] = []
        while expected or not skipped:
            token = self.take()
            skipped.append(token.text)
            if token.kind == "symbol" and token.text in _CLOSING:
                expected.append(_CLOSING[token.text])
            elif expected and token.kind == "symbol" and token.text == expected[-1]:
                expected.pop()
        return skipped
