"""The first frame: as large as the terminal, with every pane's name, and gone after a failure."""

from __future__ import annotations

import os

import pytest

from tui.curtain import WIDE, curtain, frame
from tui.screens import main


@pytest.mark.parametrize("size", [(80, 24), (110, 30), (120, 40), (160, 48), (300, 90), (24, 8)])
def test_the_frame_fills_the_terminal(size: tuple[int, int]) -> None:
    columns, rows = size
    lines = frame(columns, rows)
    assert len(lines) == rows
    assert {len(line) for line in lines} == {columns}
    text = "\n".join(lines)
    assert "3 Graphs" in text
    assert ("1 Data" in text) == (columns >= WIDE)


def test_a_tiny_terminal_gets_a_word() -> None:
    assert frame(10, 3) == ["finetui"]


def test_panes_stand_side_by_side_from_the_same_width() -> None:
    assert main.WIDE == WIDE


def test_a_failed_start_gives_the_terminal_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    with pytest.raises(RuntimeError), curtain():
        raise RuntimeError("no Textual")
    assert capsys.readouterr().out.endswith("\x1b[?1049l")
