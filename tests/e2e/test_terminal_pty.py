"""A terminal that is lost: the screen ends, whatever it was doing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import Terminal

pytestmark = pytest.mark.pty

FRAMES = 140
"""Whole screens drawn into a stalled line: more than the kernel and Textual keep for later."""


@pytest.fixture(params=[True, False], ids=["signal", "no signal"])
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Terminal]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    terminal = Terminal(["demo"], tmp_path, columns=240, rows=70, signalled=request.param)
    terminal.wait_for("start training")
    yield terminal
    terminal.kill()


def test_a_line_that_stalls_and_then_breaks_ends_the_screen(terminal: Terminal) -> None:
    terminal.stall()
    for pane in range(FRAMES):
        terminal.press("1zz2zz4"[pane % 7])
        time.sleep(0.05)
    assert terminal.process.poll() is None  # it waits for the line
    assert terminal.hang_up() == 0


def test_a_terminal_that_goes_away_ends_the_screen(terminal: Terminal) -> None:
    assert terminal.hang_up() == 0


def test_the_screen_is_drawn_where_errors_go_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with (tmp_path / "errors").open("wb") as errors:
        terminal = Terminal(["demo"], tmp_path, stderr=errors)
    try:
        terminal.wait_for("start training")
        terminal.press("q")
        assert terminal.wait() == 0
    finally:
        terminal.kill()
    assert (tmp_path / "errors").read_bytes() == b""
