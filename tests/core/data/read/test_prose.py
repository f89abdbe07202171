"""Plain text: a row a paragraph."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.read import row as limits
from core.data.read.sources import Rejected, Row, read_rows


def test_paragraphs_are_rows_with_their_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\n\nOne,\r\nstill one.\r\n \t\r\nTwo: é\u2028x\n\n\nThree".encode())
    assert list(read_rows([path])) == [
        Row(str(path), 3, {"text": "One,\nstill one."}),
        Row(str(path), 6, {"text": "Two: é\u2028x"}),
        Row(str(path), 9, {"text": "Three"}),
    ]


def test_fenced_code_stays_together(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("Look:\n```python\na = 1\n\nb = 2\n```\n\nNext\n\n~~~\nopen\n\nend")
    assert [row.value["text"] for row in read_rows([path]) if isinstance(row, Row)] == [
        "Look:\n```python\na = 1\n\nb = 2\n```", "Next", "~~~\nopen\n\nend",
    ]  # fmt: skip


def test_broken_paragraphs_cost_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good one\n" * 600 + b"\nnul \0 here\n\nbad \xc3\xa9 \xff\xff byte\n\nlast")
    rows = list(read_rows([path]))
    assert [(row.line, row.reason) for row in rows if isinstance(row, Rejected)] == [
        (602, "nul_byte"), (604, "not_utf8"),
    ]  # fmt: skip
    assert isinstance(rows[0], Row)
    assert rows[-1] == Row(str(path), 606, {"text": "last"})
    monkeypatch.setattr(limits, "LINE_LIMIT_BYTES", 1000)
    assert isinstance(next(read_rows([path])), Rejected)
