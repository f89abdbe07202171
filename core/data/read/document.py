"""JSON documents with rows: a list, an object with one list, or one object after the other.

The text of each row is cut out by its brackets and then parsed as a line is, so that memory holds
one row, a broken row costs only itself, and every row knows its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

import orjson

from core.data.chats.columns import TURNS
from core.data.read import row as limits
from core.data.read.lines import parse_line
from core.data.read.oriented import TO_LINES, rows_inside
from core.data.read.row import (
    BLOCK_BYTES,
    RAW_LIMIT,
    Reader,
    Rejected,
    Row,
    refuse,
    refuse_blank,
    too_long,
)

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}\s]*+")
_SPACES = (b"", b" ", b"\t", b"\r", b"\n")
_OPEN = b"[{"
_GUESSES = 4


def document_rows(open_stream: Callable[[], Reader], name: str) -> Iterator[Row | Rejected]:
    """The objects of a list, of the one list in an object, or objects that follow each other.

    A single object is one row, or the rows of a table that is written in one.

    ``open_stream`` is called again where the document has to be looked through first.
    """
    scanner = _Scanner(open_stream(), name)
    first = scanner.peek()
    if first == b"{":
        found = _keys_of_lists(scanner)
        after = scanner.peek()
        scanner = _Scanner(open_stream(), name)
        line = scanner.line_of_next()
        if after in (b"{", b","):
            yield from _objects(scanner)
            return
        key = _key_of_list(found, name)
        if key is None:
            yield from _only_row(open_stream(), name, line)
            return
        for _ in scanner.each_key(key):
            pass
    elif not first:
        refuse_blank(name)
    elif first in (b"/", b"#"):
        scanner.fail("a comment stands here, which JSON does not have")
    elif first != b"[":
        refuse(f"{name} holds no rows", "write a list of objects, or one object a line as .jsonl")
    yield from _list_rows(scanner, closed=first == b"[")


def _list_rows(scanner: _Scanner, *, closed: bool) -> Iterator[Row | Rejected]:
    """The elements of the list that comes next; with ``closed`` nothing may follow it."""
    scanner.take(b"[")
    if scanner.peek() == b"]":
        refuse(f"{scanner.name} holds an empty list", "check how it was written")
    while True:
        yield scanner.row()
        if scanner.peek() == b"]":
            break
        scanner.take(b",")
    scanner.take(b"]")
    if closed and scanner.peek() == b"[":
        refuse(
            f"{scanner.name}:{scanner.line_of_next()}: a second list follows the end of the "
            "first: one file is one list of rows",
            'write one row a line as .jsonl; a row that is a list of turns is {"messages": [...]}',
            kind="not_json",
        )
    if closed and scanner.peek():
        scanner.fail("something follows the end of the list")


def _objects(scanner: _Scanner) -> Iterator[Row | Rejected]:
    """Objects that follow each other, over any number of lines, with commas between or without."""
    while scanner.peek():
        yield scanner.row()
        if scanner.peek() == b",":
            scanner.take(b",")


def _keys_of_lists(scanner: _Scanner) -> list[str]:
    """The keys of the first object under which lists of objects are."""
    found = []
    for key in scanner.each_key():
        if scanner.peek() == b"[":
            scanner.take(b"[")
            if scanner.peek() == b"{":
                found.append(key)
            scanner.skip(depth=1)
        else:
            scanner.skip()
    if scanner.peek() not in (b"", b"{", b","):
        scanner.fail("something follows the end of the object")
    return found


def _key_of_list(found: list[str], name: str) -> str | None:
    """The key under which the rows are; None: the document is one row."""
    if any(key in TURNS for key in found):
        return None
    if len(found) > 1:
        refuse(
            f"{name} has several lists of rows: {', '.join(found)[:200]}",
            "keep one list in each file",
        )
    return found[0] if found else None


def _only_row(stream: Reader, name: str, line: int) -> Iterator[Row | Rejected]:
    """A document that is one row as a whole, or a table in one object."""
    parts, size = [], 0
    while size <= limits.LINE_LIMIT_BYTES and (block := stream.read(BLOCK_BYTES)):
        parts.append(block)
        size += len(block)
    row = parse_line(b"".join(parts), name, line)
    inside = rows_inside(row.value) if isinstance(row, Row) else None
    if inside is not None:
        yield from (Row(name, line, value) for value in inside)
    elif size > limits.LINE_LIMIT_BYTES and isinstance(row, Rejected):
        yield replace(row, detail=f"all of the file is one object, {row.detail}; {TO_LINES}")
    else:
        yield row


class _Scanner:
    """A place in a JSON text, of which only what is needed is held."""

    def __init__(self, stream: Reader, name: str):
        self.name = name
        self._stream = stream
        self._buffer = bytearray()
        self._at = 0
        self._line = 1

    def peek(self) -> bytes:
        """The next byte that is no space; empty at the end."""
        if self._buffer[self._at : self._at + 1] not in _SPACES:
            return bytes(self._buffer[self._at : self._at + 1])
        while True:
            match = _SPACE.match(self._buffer, self._at)
            end = match.end() if match else self._at
            self._line += self._buffer.count(b"\n", self._at, end)
            self._at = end
            if self._at < len(self._buffer):
                return bytes(self._buffer[self._at : self._at + 1])
            if not self._more():
                return b""

    def line_of_next(self) -> int:
        """The line of the next byte that is no space."""
        self.peek()
        return self._line

    def take(self, wanted: bytes) -> None:
        """Pass over a sign that has to come now."""
        if self.peek() != wanted:
            names = {b",": "a comma or the end of the list", b":": "a colon"}
            self.fail(f"{names.get(wanted, wanted.decode())} was expected")
        self._at += 1

    def fail(self, what: str) -> NoReturn:
        """Refuse the document for what is wrong at this place."""
        refuse(
            f"{self.name}:{self._line}: not valid JSON: {what}",
            "repair the file; as .jsonl, one object a line, a broken row costs only that row",
            kind="not_json",
        )

    def row(self) -> Row | Rejected:
        """The value that comes next, as a row."""
        line = self.line_of_next()
        raw, long = self._value(0)
        return too_long(raw, self.name, line) if long else parse_line(raw, self.name, line)

    def skip(self, depth: int = 0) -> None:
        """Pass over the value that comes next, or to the end of one that is open already."""
        self.peek()
        self._value(depth)

    def each_key(self, until: str | None = None) -> Iterator[str]:
        """The keys of the object that comes next. Whoever asks passes over each value.

        With ``until`` the values are passed over here, and the end is before that key's list.
        """
        self.take(b"{")
        while self.peek() == b'"':
            key = self._key()
            self.take(b":")
            if key == until and self.peek() == b"[":
                return
            if until is None:
                yield key
            else:
                self.skip()
            if self.peek() == b",":
                self.take(b",")
                if self.peek() != b'"':
                    self.fail("the name of a field was expected")
        self.take(b"}")

    def _key(self) -> str:
        raw, _ = self._value(0)
        try:
            return str(orjson.loads(raw))
        except orjson.JSONDecodeError:
            self.fail("a field has a broken name")

    def _value(self, depth: int) -> tuple[bytes, bool]:
        """The text of a value, and whether it is over the limit: then only its beginning."""
        guessed = self._guess() if not depth else None
        if guessed is not None:
            return guessed, False
        head = b""
        position = self._at
        inside = False
        first = bytes(self._buffer[position : position + 1])
        if not depth and first == b'"':
            position, inside = position + 1, True
        elif not depth and first not in (b"[", b"{"):
            return self._scalar(), False
        while True:
            position, depth, inside, ended = self._step(position, depth, inside)
            if ended:
                break
            if position - self._at > limits.LINE_LIMIT_BYTES:
                head = head or bytes(self._buffer[self._at : self._at + RAW_LIMIT])
                self._pass_to(position)
                position = self._at
            if not self._more():
                self.fail("it ends in the middle of a value")
        raw = head or bytes(self._buffer[self._at : position])
        long = bool(head) or len(raw) > limits.LINE_LIMIT_BYTES
        self._pass_to(position)
        return raw, long

    def _guess(self) -> bytes | None:
        """An object's text, if it ends at one of its first closing brackets: most rows do.

        No beginning of an object is valid JSON before its end; ``orjson`` knows faster than we do.
        """
        if self._buffer[self._at : self._at + 1] != b"{":
            return None
        end = self._at
        for _ in range(_GUESSES):
            end = self._buffer.find(b"}", end) + 1
            if not end or end - self._at > limits.LINE_LIMIT_BYTES:
                return None
            raw = bytes(self._buffer[self._at : end])
            try:
                orjson.loads(raw)
            except orjson.JSONDecodeError:
                continue
            self._pass_to(end)
            return raw
        return None

    def _step(self, position: int, depth: int, inside: bool) -> tuple[int, int, bool, bool]:
        """Go on through a value as far as the buffer reaches: place, depth, in a text, ended."""
        buffer = self._buffer
        while True:
            if inside:
                match = _STRING_REST.match(buffer, position)
                position = match.end() if match else position
                if buffer[position : position + 1] != b'"':
                    return position, depth, True, False  # a backslash may be the last byte
                position, inside = position + 1, False
            else:
                match = _TO_BRACKET.match(buffer, position)
                position = match.end() if match else position
                if position >= len(buffer):
                    return position, depth, False, False
                sign = bytes(buffer[position : position + 1])
                position += 1
                if sign == b'"':
                    inside = True
                    continue
                depth += 1 if sign in _OPEN else -1
            if depth <= 0:
                return position, depth, inside, True

    def _scalar(self) -> bytes:
        while True:
            match = _SCALAR.match(self._buffer, self._at)
            end = match.end() if match else self._at
            if end < len(self._buffer) or not self._more():
                break
            if end - self._at > limits.LINE_LIMIT_BYTES:
                self.fail("a value is too long")
        if end == self._at:
            self.fail("a value was expected")
        raw = bytes(self._buffer[self._at : end])
        self._at = end
        return raw

    def _pass_to(self, position: int) -> None:
        """Let go of what is before a place."""
        self._line += self._buffer.count(b"\n", self._at, position)
        if position > BLOCK_BYTES:
            del self._buffer[:position]
            position = 0
        self._at = position

    def _more(self) -> bool:
        block = self._stream.read(BLOCK_BYTES)
        self._buffer += block
        return bool(block)
