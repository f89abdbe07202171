"""One JSON object a line. A broken line costs that line and nothing else.

``orjson`` parses; it is several times as fast as Python's own decoder and takes less for JSON.
What it lets pass and we do not (a field twice in one object, numbers it would round, deep nesting)
is found by counting, and whatever looks odd is decided by the slow decoder, which knows the reason.
"""

from __future__ import annotations

import json
import math
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import orjson

from core.data.chats.chat import AS_PYTHON
from core.data.chats.nesting import DEPTH_LIMIT
from core.data.chats.shapes import shape_of
from core.data.read import row as limits
from core.data.read.row import (
    BLOCK_BYTES,
    Marked,
    Reader,
    Rejected,
    Row,
    refuse_blank,
    show,
    too_long,
)

_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_ODD = 1 << 62
_LARGEST = 2.0**63
"""orjson makes a rounded float of a larger whole number."""


class _Defect(ValueError):  # noqa: N818 - the row's, not the program's
    """A value that is JSON to Python and yet not usable."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def line_rows(stream: Reader, name: str, blanks: Counter[str]) -> Iterator[Row | Rejected]:
    """All lines of a file as rows, in constant memory; blank lines are counted in ``blanks``."""
    number = 0
    for lines in line_blocks(stream):
        for raw in lines:
            number += 1
            if raw and not raw.isspace():
                yield parse_line(raw, name, number)
            else:
                blanks[name] += 1
    if number == blanks[name]:
        refuse_blank(name)


def line_blocks(stream: Reader, size_at_once: int = BLOCK_BYTES) -> Iterator[list[bytes]]:
    """Lines without their newline, many at a time. Of a line over the limit only its beginning."""
    limit = limits.LINE_LIMIT_BYTES + 1
    parts: list[bytes] = []
    size = 0
    while block := stream.read(size_at_once):
        lines = block.split(b"\n")
        if len(lines) == 1:
            parts.append(block[: max(0, limit - size)])
            size += len(parts[-1])
            continue
        parts.append(lines[0])
        lines[0] = b"".join(parts)
        parts = [lines.pop()]
        size = len(parts[0])
        yield lines
    if size:
        yield [b"".join(parts)]


def parse_line(raw: bytes, file: str, line: int) -> Row | Rejected:
    """One line as a row, or why it cannot be one."""
    if len(raw) > limits.LINE_LIMIT_BYTES:
        return too_long(raw, file, line)
    value = _fast(raw)
    return _slow(raw.strip(), file, line) if value is None else Row(file, line, value)


def _fast(raw: bytes) -> dict[str, Any] | None:
    """The object of a line that is plainly good; None when somebody should look closer.

    Each text has two quotes, and a field that is written twice is found once: when there are as
    many quotes as the texts and the fields' names need, no field was written twice.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if type(value) is not dict:
        return None
    return value if has_quotes(raw, 2 * _texts(value, 1)) else None


def has_quotes(raw: bytes, wanted: int) -> bool:
    """Whether a line has so many quotes, not counting those inside of texts."""
    quotes = raw.count(b'"')
    if quotes == wanted:
        return True
    if quotes < wanted:
        return False
    if b"\\\\" in raw:
        return quotes - _ESCAPE.findall(raw).count(b'\\"') == wanted
    return quotes - raw.count(b'\\"') == wanted


def _texts(value: dict[str, Any], depth: int) -> int:
    """How many texts and names an object has, with all inside; far too many when it is odd."""
    count = len(value)
    for item in value.values():
        kind = type(item)
        if kind is str:
            count += 1
        elif kind is dict:
            count += _texts(item, depth + 1) if depth < DEPTH_LIMIT else _ODD
        elif kind is list:
            count += _texts_in_list(item, depth + 1)
        elif kind is float and abs(item) >= _LARGEST:
            return _ODD
    return count


def _texts_in_list(value: list[Any], depth: int) -> int:
    # Written out beside its twin: one calling the other costs a chat's line 9 % of its reading.
    if depth > DEPTH_LIMIT:
        return _ODD
    count = 0
    for item in value:
        kind = type(item)
        if kind is str:
            count += 1
        elif kind is dict:
            count += _texts(item, depth + 1) if depth < DEPTH_LIMIT else _ODD
        elif kind is list:
            count += _texts_in_list(item, depth + 1)
        elif kind is float and abs(item) >= _LARGEST:
            return _ODD
    return count


def _slow(raw: bytes, file: str, line: int) -> Row | Rejected:
    """A line as Python's decoder and our rules take it."""
    if raw.startswith(BOM_UTF8):
        row = parse_line(raw[len(BOM_UTF8) :], file, line)
        if isinstance(row, Row):
            return Marked(file, line, row.value)
        return replace(row, raw=show(raw))
    try:
        if too_deep(raw):
            raise _Defect("too_deep", f"nested deeper than {DEPTH_LIMIT} levels")
        value = _DECODER.decode(raw.decode("utf-8"))
        return Row(file, line, _checked(value, raw))
    except _Defect as defect:
        reason, detail = defect.reason, str(defect)
    except UnicodeDecodeError as error:
        reason, detail = "not_utf8", f"byte {error.start + 1} {limits.RECODE}"
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at").removesuffix(" starting")
        reason, detail = "not_json", f"{what} at character {error.pos + 1}{_hint(raw)}"
    except (ValueError, RecursionError) as error:
        reason, detail = "not_json", str(error).split(";")[0]
    return Rejected(file, line, reason, detail, show(raw))


def _hint(raw: bytes) -> str:
    """What a broken line looks like, where that says how to write it."""
    if raw.startswith(b"{'"):
        return AS_PYTHON
    if raw.startswith(b"{") and raw.endswith(b"},"):
        return ": a comma follows the object; a line holds the object alone"
    return ""


def too_deep(raw: bytes) -> bool:
    """Whether lists and objects are nested beyond the limit; strings are passed over."""
    if raw.count(b"[") + raw.count(b"{") <= DEPTH_LIMIT:
        return False
    depth = 0
    for match in _BRACKET.finditer(raw):
        token = match.group()
        if token in b"[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                return True
        elif token in b"]}":
            depth -= 1
    return False


def _checked(value: object, raw: bytes) -> dict[str, Any]:
    if is_turns(value):
        raise _Defect(
            "not_an_object",
            'the row is a list of turns: write it with its name, {"messages": [...]}',
        )
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
        raise _Defect("not_an_object", f"the row is {kind}, not an object with named fields")
    if b"\\u" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise _Defect("half_character", "holds half of a character (lone surrogate)") from error
    return value


def is_turns(value: object) -> bool:
    """Whether a value is a list of turns, as a row has it under a name."""
    return isinstance(value, list) and any(
        isinstance(turn, dict) and shape_of(turn) == "turn" for turn in value
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Defect("duplicate_key", f"the field {twice[:80]!r} stands twice in one object")
    return value


def _constant(name: str) -> NoReturn:
    raise _Defect("not_finite", f"{name} is not a JSON number")


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Defect("not_finite", f"{text[:40]} is too large for a number")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_constant, parse_float=_number
)
