"""A row of a file and a rejected one, with the limits that hold for rows of every kind of file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from core.config.errors import InputError

LINE_LIMIT_BYTES = 16 << 20
"""A longer line, row or paragraph is rejected without being parsed."""
RAW_LIMIT = 2048
"""Characters of a rejected row that are kept to be shown."""
BLOCK_BYTES = 1 << 20
"""What is read of a file at once."""

RECODE = (
    "is not UTF-8; if the file is in another encoding, convert it: iconv -f CP1252 -t UTF-8 "
    "OLD > NEW, with CP1250, CP1251, GB18030 or the like for other languages than Western ones"
)
"""The end of a sentence about a byte, with what to do about it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file. ``line`` is the line on which it begins, from 1.

    In Parquet and Arrow files, which have no lines, it is the number of the row, from 1.
    """

    file: str
    line: int
    value: dict[str, Any]

    def __reduce__(self) -> tuple[type[Row], tuple[Any, ...]]:
        """To another process at a fifth of what a dataclass costs by itself."""
        return Row, (self.file, self.line, self.value)


class Marked(Row):
    """A row behind a byte order mark in the middle of a file, as files put together have it."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[Row], tuple[Any, ...]]:
        return Marked, (self.file, self.line, self.value)


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that cannot be used: ``reason`` for counting, ``detail`` for a person."""

    file: str
    line: int
    reason: str
    detail: str
    raw: str = ""
    """The beginning of the row as it stands in the file."""


class Reader(Protocol):
    """Where bytes come from: a file, or one that is unpacked while it is read."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


def show(raw: bytes) -> str:
    """The beginning of a row as text, for reports."""
    text = raw[: RAW_LIMIT * 4].decode("utf-8", "replace")
    return text if len(text) <= RAW_LIMIT else text[:RAW_LIMIT] + "..."


def too_long(raw: bytes, file: str, line: int) -> Rejected:
    """The rejection of a row over the limit, of which only the beginning is there."""
    detail = f"longer than {LINE_LIMIT_BYTES >> 20} MiB"
    return Rejected(file, line, "line_too_long", detail, show(bytes(raw[:RAW_LIMIT])))


def refuse(message: str, remedy: str, kind: str = "bad_data_file") -> NoReturn:
    """Refuse a whole file, with what to do about it."""
    raise InputError(message, kind=kind, remedies=(remedy,))


def refuse_blank(name: str) -> NoReturn:
    """Refuse a file that has no rows, though it is not empty."""
    refuse(
        f"{name} has only blank lines: there is no row in it",
        "write or download it again, or take it out of data.files",
    )


def reason_of(error: Exception) -> str:
    """What an error says, without numbers and file names in front."""
    said = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return (said.splitlines() or [type(error).__name__])[0][:300]
