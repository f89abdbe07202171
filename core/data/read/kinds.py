"""What kind of rows a text holds: by its beginning first, by its name second."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

import orjson

from core.data.chats.shapes import shape_of
from core.data.read import paths
from core.data.read.lines import is_turns, parse_line
from core.data.read.row import Row, refuse, show
from core.data.read.tables import SEPARATORS

Kind = Literal["lines", "document", "table", "parquet", "arrow", "text"]

_POINTER = b"version https://git-lfs.github.com/spec/"
_OPENED = re.compile(rb"^\s*+[{\[]", re.MULTILINE)
_SHOWN = 40


def refuse_pointer(path: Path, head: bytes) -> None:
    """Refuse what Git LFS leaves where a file was not downloaded."""
    if head.startswith(_POINTER):
        size = re.search(rb"^size (\d{1,18})$", head, re.MULTILINE)
        of = f" of {int(size[1]):,} bytes" if size else ""
        refuse(
            f"{path} is a Git LFS pointer: it names a file{of}, which is not here",
            "fetch it: git lfs pull, in its repository; or download the file itself",
        )


def text_kind(path: Path, suffix: str, head: bytes) -> Kind:
    """The kind of a text that begins so. Raises InputError for what is plainly no data.

    Many ``.json`` files hold lines, some ``.jsonl`` a list or a table, and rows in JSON come under
    names of tables and texts.
    """
    opened = head[:1] in (b"{", b"[")
    if suffix in paths.LINES or suffix in paths.DOCUMENTS or not suffix:
        if opened:
            return "document" if _is_document(suffix, head) else "lines"
        if _is_table(head):
            return "table"
        _refuse_words(path, head)
        return "document" if suffix in paths.DOCUMENTS else "lines"
    if opened and _is_rows(head):
        return "document" if _is_document(paths.LINES[0], head) else "lines"
    return "text" if suffix in paths.TEXTS else "table"


def _is_document(suffix: str, head: bytes) -> bool:
    """Whether a text is one JSON document, or several; False: one object a line."""
    first, _, rest = head.partition(b"\n")
    if head.startswith(b"["):
        if rest.lstrip()[:1] in (b"[", b"{") and _is_row(first, suffix):
            return False
        return suffix not in paths.LINES or first[1:].lstrip()[:1] in (b"", b"{")
    row = parse_line(first, "", 1)
    if isinstance(row, Row):
        only = not rest.lstrip()[:1]
        return only and (suffix not in paths.LINES or shape_of(row.value) is None)
    return suffix not in paths.LINES or _goes_on(head, first)


def _is_row(line: bytes, suffix: str) -> bool:
    """Whether a line that begins a list is a row of its own, so that others follow it.

    In a file that is named a document only where it is a whole chat.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return is_turns(value) or (isinstance(value, list) and suffix in paths.LINES)


def _goes_on(head: bytes, first: bytes) -> bool:
    """Whether the first object does not end where its line does."""
    text = head.decode("utf-8", "ignore")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):  # broken, or longer than what is there
        rest = head[len(first) :].lstrip()
        return first.strip() == b"{" and rest[:1] == b'"' and rest.find(b"}") < 0
    line_end = text.find("\n")
    return end > line_end >= 0 or text[end:line_end].strip()[:1] in ("{", ",")


def _is_rows(head: bytes) -> bool:
    """Whether a text under another name begins with rows of a known format in JSON."""
    try:
        found, _ = json.JSONDecoder().raw_decode(head.decode("utf-8", "ignore").lstrip("[ \t\r\n"))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and shape_of(found) is not None


def _is_table(head: bytes) -> bool:
    """Whether a first line names the fields of a known format."""
    first = head.partition(b"\n")[0].decode("utf-8", "replace").strip()
    for separator in SEPARATORS:
        names = [name.strip(' "') for name in first.split(separator)]
        if len(names) > 1 and shape_of(dict.fromkeys(names, "")) is not None:
            return True
    return False


def _refuse_words(path: Path, head: bytes) -> None:
    """Refuse a text without a sign of JSON: mostly what a server said instead of the data."""
    first = head.partition(b"\n")[0].strip()
    if not first or _OPENED.search(head):
        return
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        said = show(first)[:_SHOWN]
        refuse(
            f"{path} holds no JSON: it begins with “{said}”",
            "look at it: an error that was saved is downloaded again, a table is named .csv, plain "
            "text .txt",
        )
