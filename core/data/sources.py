"""From files to rows: every row with its file and line, every defect with its reason.

A broken row costs that row and nothing else. What concerns a whole file (missing, empty, not
text) is an InputError that says what to do.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from core.config.errors import FailedError, InputError

LINE_LIMIT_BYTES = 16 << 20
"""A longer line is rejected without being parsed."""
DOCUMENT_LIMIT_BYTES = 1 << 30
"""A larger ``.json`` document is refused: unlike jsonl it has to be held in memory."""
DEPTH_LIMIT = 64
"""Deeper nesting of lists and objects is rejected without being parsed."""
RAW_LIMIT = 2048
"""Characters of a rejected row that are kept to be shown."""

_LINES = (".jsonl", ".ndjson")
_SUPPORTED = (*_LINES, ".json")
_TURNS = ("messages", "conversations", "conversation")
"""Lists that are the turns of one row, not a list of rows."""
_BOM = b"\xef\xbb\xbf"
_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Row:
    """One object of a file. ``line`` is the line on which it begins, from 1."""

    file: str
    line: int
    value: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """One row that cannot be used: ``reason`` for counting, ``detail`` for a person."""

    file: str
    line: int
    reason: str
    detail: str
    raw: str = ""
    """The beginning of the row as it stands in the file."""


class _Defect(ValueError):  # noqa: N818 - the row's, not the program's
    """A value that is JSON to Python and yet not usable."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def read_rows(
    files: Sequence[str | Path], blank_lines: Counter[str] | None = None
) -> Iterator[Row | Rejected]:
    """All rows of all files, in order, in constant memory for jsonl.

    Blank lines are no rows; they are counted by file in ``blank_lines``. Raises InputError for a
    file that cannot be used at all, before any row of it comes, and FailedError when a file
    changes while it is read.
    """
    if not files:
        raise InputError(
            "no data file is named",
            kind="no_data",
            remedies=("set data.files to one or more .jsonl or .json files",),
        )
    blanks: Counter[str] = Counter() if blank_lines is None else blank_lines
    for name in files:
        path = check_file(name)
        with _opened(path) as file:
            if is_document(path, file):
                yield from _document_rows(path, file)
            else:
                yield from _line_rows(path, file, blanks)


def check_file(name: str | Path) -> Path:
    """The path of a usable data file. Raises InputError, saying what to do, for all others."""
    path = Path(name)
    try:
        path = path.expanduser()
        status = path.stat()
        inside = [p.name for p in path.iterdir()] if stat.S_ISDIR(status.st_mode) else []
    except FileNotFoundError:
        _refuse(f"there is no file {path}", "check the path", kind="no_data")
    except (OSError, ValueError, RuntimeError) as error:
        _refuse(f"cannot look at {path}: {_reason(error)}", "check its name and permissions")
    if stat.S_ISDIR(status.st_mode):
        found = sorted(n for n in inside if n.lower().endswith(_SUPPORTED))
        hint = f"name its files: {', '.join(found[:5])}" if found else "name files instead"
        _refuse(f"{path} is a folder", hint)
    if not stat.S_ISREG(status.st_mode):
        _refuse(f"{path} is not a regular file but a device, pipe or socket", "copy it to a file")
    if path.suffix.lower() not in _SUPPORTED:
        _refuse(
            f"{path} is not a kind of file that can be read; supported: {', '.join(_SUPPORTED)}",
            "convert it to one JSON object a line, and name it .jsonl",
        )
    if status.st_size == 0:
        _refuse(f"{path} is empty", "check how it was written or downloaded")
    return path


def is_document(path: Path, file: IO[bytes]) -> bool:
    """Whether the file is one JSON document; False: one object a line.

    Goes by the content: many ``.json`` files hold lines, and some ``.jsonl`` an indented list.
    """
    _check_text(path, file)
    file.seek(0)
    first = file.readline(LINE_LIMIT_BYTES).removeprefix(_BOM)
    while first and not first.strip():
        first = file.readline(LINE_LIMIT_BYTES)
    second = file.readline(LINE_LIMIT_BYTES)
    file.seek(0)
    if path.suffix.lower() in _LINES:
        return first.strip() == b"["
    if first.lstrip().startswith(b"["):
        return True
    return not (second.strip() and isinstance(parse_line(first, str(path), 1), Row))


def parse_line(raw: bytes, file: str, line: int) -> Row | Rejected:
    """One line as a row, or why it cannot be one."""
    raw = raw.strip()
    if len(raw) > LINE_LIMIT_BYTES:
        return _too_long(raw, file, line)
    try:
        if too_deep(raw):
            raise _Defect("too_deep", f"nested deeper than {DEPTH_LIMIT} levels")
        value = _DECODER.decode(raw.decode("utf-8"))
        return Row(file, line, _checked(value, raw))
    except _Defect as defect:
        reason, detail = defect.reason, str(defect)
    except UnicodeDecodeError as error:
        reason, detail = "not_utf8", f"byte {error.start + 1} is not UTF-8"
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at").removesuffix(" starting")
        reason, detail = "not_json", f"{what} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        reason, detail = "not_json", str(error).split(";")[0]
    return Rejected(file, line, reason, detail, show(raw))


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


def show(raw: bytes) -> str:
    """The beginning of a row as text, for reports."""
    text = raw[: RAW_LIMIT * 4].decode("utf-8", "replace")
    return text if len(text) <= RAW_LIMIT else text[:RAW_LIMIT] + "..."


def _line_rows(path: Path, file: IO[bytes], blanks: Counter[str]) -> Iterator[Row | Rejected]:
    name, number = str(path), 0
    while raw := file.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_BOM)
        if len(raw) > LINE_LIMIT_BYTES and not raw.endswith(b"\n"):
            yield _too_long(raw, name, number)
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(LINE_LIMIT_BYTES)
        elif raw.strip():
            yield parse_line(raw, name, number)
        else:
            blanks[name] += 1
    if number == blanks[name]:
        _refuse(f"{path} has only blank lines", "check how it was written or downloaded")


def _document_rows(path: Path, file: IO[bytes]) -> Iterator[Row | Rejected]:
    """The objects of a JSON list, of the one list in a JSON object, or that object itself."""
    if path.stat().st_size > DOCUMENT_LIMIT_BYTES:
        _refuse(f"{path} is too large for one JSON document", "write one object a line, as .jsonl")
    raw = file.read().removeprefix(_BOM)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        _refuse(f"{path}:{line}: byte {error.start + 1} is not UTF-8", "convert it to UTF-8")
    start = _skip_space(text, 0)
    try:
        if not text.startswith("[", start):
            found = _list_start(path, text, start)
            if found is None:
                yield parse_line(raw, str(path), text.count("\n", 0, start) + 1)
                return
            start = found
        yield from _list_rows(path, text, start)
    except json.JSONDecodeError as error:
        _refuse(
            f"{path}:{error.lineno}: not valid JSON: {error.msg} at column {error.colno}",
            "repair the file; as .jsonl, one object a line, a broken row costs only that row",
            kind="not_json",
        )
    except (ValueError, RecursionError) as error:
        _refuse(f"{path} cannot be parsed: {error}", "write one object a line, as .jsonl")


def _list_rows(path: Path, text: str, start: int) -> Iterator[Row | Rejected]:
    """Rows of the list that begins at ``start``, one decoded at a time, to know their lines."""
    position, line, seen = _skip_space(text, start + 1), 1, 0
    if text.startswith("]", position):
        _refuse(f"{path} holds an empty list", "check how it was written")
    while True:
        line, seen = line + text.count("\n", seen, position), position
        end, row = _list_row(path, text, position, line)
        yield row
        position = _skip_space(text, end)
        if text.startswith("]", position):
            return
        if not text.startswith(",", position):
            raise json.JSONDecodeError("expected a comma or the end of the list", text, position)
        position = _skip_space(text, position + 1)


def _list_row(path: Path, text: str, start: int, line: int) -> tuple[int, Row | Rejected]:
    """One element of a list, and where it ends."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        raw = text[start:end].encode("utf-8", "surrogatepass")
        if too_deep(raw):
            raise _Defect("too_deep", f"nested deeper than {DEPTH_LIMIT} levels")
        return end, Row(str(path), line, _checked(value, raw))
    except _Defect as defect:
        end = _PLAIN.raw_decode(text, start)[1]
        raw = text[start:end].encode("utf-8", "surrogatepass")
        return end, Rejected(str(path), line, defect.reason, str(defect), show(raw))


def _list_start(path: Path, text: str, start: int) -> int | None:
    """Where the list of rows begins in a document that is one object; None: it is one row."""
    document = _PLAIN.decode(text[start:])
    if not isinstance(document, dict):
        _refuse(f"{path} holds no rows", "write a list of objects, or one object a line as .jsonl")
    lists = [key for key, value in document.items() if _holds_rows(value)]
    if not lists or any(key in _TURNS for key in lists):
        return None
    if len(lists) > 1:
        _refuse(
            f"{path} has several lists of rows: {', '.join(lists)}", "keep one list in each file"
        )
    position = start + 1
    while True:
        key, end = _PLAIN.raw_decode(text, _skip_space(text, position))
        position = _skip_space(text, _skip_space(text, end) + 1)
        if key == lists[0] and text.startswith("[", position):
            return position
        _, end = _PLAIN.raw_decode(text, position)
        position = _skip_space(text, end) + 1


def _holds_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _checked(value: object, raw: bytes) -> dict[str, Any]:
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
        raise _Defect("not_an_object", f"the row is {kind}, not an object with named fields")
    if b"\\u" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise _Defect("half_character", "holds half of a character (lone surrogate)") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Defect("duplicate_key", f"the field {twice[:80]!r} stands twice in one object")
    return value


def _constant(name: str) -> NoReturn:
    raise _Defect("not_finite", f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)
_PLAIN = json.JSONDecoder()


def _too_long(raw: bytes, file: str, line: int) -> Rejected:
    detail = f"longer than {LINE_LIMIT_BYTES >> 20} MiB"
    return Rejected(file, line, "line_too_long", detail, show(raw[:RAW_LIMIT]))


def _check_text(path: Path, file: IO[bytes]) -> None:
    """Refuse what is plainly not UTF-8 text with JSON, by its first bytes."""
    head = file.read(4096)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse(f"{path} is UTF-16", f"convert it: iconv -f UTF-16 -t UTF-8 {path.name}")
    if b"\0" in head:
        _refuse(f"{path} is a binary file", "give JSON text, one object a line")
    if head.removeprefix(_BOM).lstrip().startswith(b"<"):
        _refuse(f"{path} is a web page or XML, not JSON", "download the raw file again")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file for reading; FailedError when somebody changed it meanwhile."""
    try:
        file = path.open("rb")
    except OSError as error:
        _refuse(f"cannot read {path}: {_reason(error)}", "check its permissions")
    with file:
        before = os.fstat(file.fileno())
        yield file
        after = path.stat() if path.exists() else None
        if after is None or (before.st_size, before.st_mtime_ns, before.st_ino) != (
            after.st_size, after.st_mtime_ns, after.st_ino,
        ):  # fmt: skip
            raise FailedError(
                f"{path} was changed while it was read",
                kind="file_changed",
                remedies=("wait until it is written, then start again",),
            )


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _refuse(message: str, remedy: str, kind: str = "bad_data_file") -> NoReturn:
    raise InputError(message, kind=kind, remedies=(remedy,))
