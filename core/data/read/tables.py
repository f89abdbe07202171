"""CSV and TSV: the first record names the fields, and every value is text as it stands.

"NA", "null" and "None" are words here, never missing values. A record that cannot be right costs
its first line; reading goes on at the next, so that one quote that is never closed does not
swallow the rest of the file.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections import Counter, deque
from collections.abc import Iterator
from typing import NoReturn

from core.data.read import row as limits
from core.data.read.lines import line_blocks
from core.data.read.row import Reader, Rejected, Row, refuse, refuse_blank, show, too_long

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SAMPLE_LINES = 50

# The default of 128 KiB a field is less than an answer may have; lines have a limit of their own.
csv.field_size_limit(1 << 30)


class _Broken(Exception):  # noqa: N818 - a record's, none of the program's
    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class _Lines:
    """Lines with their numbers, of which some may be looked at ahead."""

    def __init__(self, stream: Reader):
        self._blocks = line_blocks(stream)
        self._ready: deque[bytes] = deque()
        self.number = 0
        """Of the line taken last."""

    def ahead(self, count: int) -> bytes | None:
        """The line that comes ``count`` lines after the next one; None behind the end."""
        while len(self._ready) <= count:
            block = next(self._blocks, None)
            if block is None:
                return None
            self._ready.extend(block)
        return self._ready[count]

    def take(self) -> bytes | None:
        """The next line; None at the end."""
        raw = self.ahead(0)
        if raw is not None:
            self._ready.popleft()
            self.number += 1
        return raw


def table_rows(
    stream: Reader, name: str, blanks: Counter[str], *, tabs: bool = False
) -> Iterator[Row | Rejected]:
    """The records of a table as rows. ``tabs``: the name says that tabs separate its fields."""
    lines = _Lines(stream)
    separator = _separator(lines, tabs)
    header = _header(lines, name, separator, blanks)
    width, found = len(header), False
    while (raw := lines.take()) is not None:
        line = lines.number
        if not raw or raw.isspace():
            blanks[name] += 1
            continue
        found = True
        if len(raw) > limits.LINE_LIMIT_BYTES:
            yield too_long(raw, name, line)
            continue
        try:
            fields = _fields(raw.removeprefix(BOM_UTF8), lines, separator)
            if fields[0].strip() == header[0] and _is_header(fields, header):
                raise _Broken("header_again", "repeats the header: tables were put together here")
            if len(fields) != width:
                named = f"{width} ({', '.join(header)[:60]})"
                detail = f"has {len(fields)} fields, but the header names {named}"
                raise _Broken("ragged_row", detail)
            yield Row(name, line, dict(zip(header, fields, strict=True)))
        except _Broken as broken:
            yield Rejected(name, line, broken.reason, str(broken), show(raw))
    if not found:
        named = ", ".join(header)[:60]
        refuse(
            f"{name} has a header ({named}) and no rows", "check how it was written or downloaded"
        )


def _is_header(fields: list[str], header: list[str]) -> bool:
    """Whether a record names the fields once more; a single word may well be a value."""
    return len(header) > 1 and [field.strip() for field in fields] == header


def separator_of(stream: Reader, *, tabs: bool = False) -> str:
    """What separates the fields of a table, by its first lines."""
    return _separator(_Lines(stream), tabs)


def _separator(lines: _Lines, tabs: bool) -> str:
    sample = []
    for number in range(_SAMPLE_LINES):
        raw = lines.ahead(number)
        if raw is None:
            break
        if raw.strip() and len(raw) <= limits.LINE_LIMIT_BYTES:
            sample.append(raw.decode("utf-8", "replace").rstrip("\r"))
    declared = sample[0].strip().lower() if sample else ""
    if declared.startswith("sep=") and declared[4:5] in SEPARATORS:
        lines.take()
        return declared[4]
    order = ["\t", ",", ";", "|"] if tabs else [",", ";", "\t", "|"]
    return max(order, key=lambda separator: _fit(sample, separator))


def _fit(sample: list[str], separator: str) -> tuple[float, int]:
    """How well a separator explains some lines: part of the rows as wide as the header, width."""
    try:
        widths = [len(fields) for fields in csv.reader(sample, delimiter=separator) if fields]
    except csv.Error:
        return 0.0, 0
    if not widths or widths[0] < 2:
        return 0.0, 0
    return sum(width == widths[0] for width in widths) / len(widths), widths[0]


def _header(lines: _Lines, name: str, separator: str, blanks: Counter[str]) -> list[str]:
    while (raw := lines.take()) is not None and not raw.strip():
        blanks[name] += 1
    if raw is None:
        refuse_blank(name)
    try:
        if len(raw) > limits.LINE_LIMIT_BYTES:
            raise _Broken("line_too_long", "too long")
        fields = [field.strip() for field in _fields(raw, lines, separator)]
    except _Broken as broken:
        _refuse_header(name, lines.number, str(broken))
    twice = [field for field, count in Counter(fields).items() if field and count > 1]
    if twice:
        _refuse_header(name, lines.number, f"the column {twice[0][:80]!r} stands twice")
    return [field or f"column {number}" for number, field in enumerate(fields, 1)]


def _refuse_header(name: str, line: int, what: str) -> NoReturn:
    refuse(f"{name}:{line}: the header cannot be used: {what}", "name each column once in line 1")


def _fields(raw: bytes, lines: _Lines, separator: str) -> list[str]:
    """The fields of the record that begins with a line; takes the lines that belong to it."""
    text = _text(raw)
    if '"' not in text:
        return text.removesuffix("\r").split(separator)
    fields = _longer(text, lines, separator) if text.count('"') % 2 else None
    if fields is None:
        fields = _split(text, separator)
    if fields is None:
        raise _Broken("unterminated_quote", "a quote is opened and never closed")
    return fields


def _longer(text: str, lines: _Lines, separator: str) -> list[str] | None:
    """A record that goes on in the next lines; None when it and they make no record."""
    parts, size = [text], len(text)
    try:
        while True:
            raw = lines.ahead(len(parts) - 1)
            size += len(raw or b"")
            if raw is None or size > limits.LINE_LIMIT_BYTES:
                return None
            parts.append(_text(raw))
            if parts[-1].count('"') % 2:
                break
        fields = _split("\n".join(parts), separator)
    except _Broken:
        return None
    for _ in parts[1:] if fields is not None else ():
        lines.take()
    return fields


def _split(text: str, separator: str) -> list[str] | None:
    """The fields of one record by the rules of quotes; None when it ends inside a quote."""
    try:
        return next(csv.reader((text.removesuffix("\r"),), delimiter=separator, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
        if "new-line" in str(error):
            raise _Broken("unterminated_quote", "a quote is opened and never closed") from error
        raise _Broken(
            "broken_quotes", 'text follows a closing quote; inside, write it twice, not as \\"'
        ) from (error)


def _text(raw: bytes) -> str:
    if b"\0" in raw:
        raise _Broken("nul_byte", "holds a NUL byte")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Broken("not_utf8", f"byte {error.start + 1} {limits.RECODE}") from error
