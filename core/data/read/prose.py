"""Plain text: one row a paragraph, for learning from raw text.

A whole file would be one row that ``data.max_length`` cuts off; paragraphs are packed together
again where ``data.packing`` is on.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.data.read import row as limits
from core.data.read.lines import line_blocks
from core.data.read.row import Reader, Rejected, Row, refuse_blank, show, too_long

_FENCES = (b"```", b"~~~")


def text_rows(stream: Reader, name: str) -> Iterator[Row | Rejected]:
    """The paragraphs of a text as rows with the field ``text``.

    A paragraph ends at a blank line, but not inside a fenced block of code.
    """
    number, start, size, any_row = 0, 0, 0, False
    paragraph: list[bytes] = []
    fence = b""
    for lines in line_blocks(stream):
        for raw in lines:
            number += 1
            line = raw.rstrip(b"\r")
            if line.strip() or fence:
                start = start if paragraph else number
                if size <= limits.LINE_LIMIT_BYTES:
                    paragraph.append(line)
                size += len(line) + 1
                fence = _fence_after(line, fence)
            elif paragraph:
                yield _row(paragraph, size, name, start)
                paragraph, size, any_row = [], 0, True
    if paragraph:
        yield _row(paragraph, size, name, start)
    elif not any_row:
        refuse_blank(name)


def _fence_after(line: bytes, fence: bytes) -> bytes:
    """The fence that is open behind a line; empty when none is."""
    found = line.lstrip()[:3]
    if fence:
        return b"" if found == fence else fence
    return found if found in _FENCES else b""


def _row(paragraph: list[bytes], size: int, name: str, start: int) -> Row | Rejected:
    raw = b"\n".join(paragraph)
    if size - 1 > limits.LINE_LIMIT_BYTES:
        return too_long(raw, name, start)
    if b"\0" in raw:
        return Rejected(name, start, "nul_byte", "holds a NUL byte", show(raw))
    try:
        return Row(name, start, {"text": raw.decode("utf-8").rstrip()})
    except UnicodeDecodeError as error:
        line = start + raw.count(b"\n", 0, error.start)
        detail = f"a byte in line {line} {limits.RECODE}"
        return Rejected(name, start, "not_utf8", detail, show(raw))
