"""Colour only where it is wanted; JSON that any reader takes; text that does nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tui.cli.output import Output, plain


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in place of stdout. Called in the test: pytest sets stdout anew for it."""
    made = Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return made


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    Output().say("bad", "red")
    assert shown.getvalue() == "\x1b[31mbad\x1b[0m\n"


def test_no_color_plain_and_pipes_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    Output(plain=True).say("bad", "red")
    monkeypatch.setenv("NO_COLOR", "1")
    Output().say("bad", "red")
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(shown, "isatty", lambda: False)
    Output().say("bad", "red")
    assert shown.getvalue() == "bad\n" * 3


def test_json_silences_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    out = Output(as_json=True)
    out.say("words")
    out.table(("a",), [("b",)])
    out.document({"path": Path("x"), "nan": float("nan"), "inf": [float("-inf")]})
    assert json.loads(shown.getvalue()) == {"path": "x", "nan": "NaN", "inf": ["-Infinity"]}


def test_tables_line_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    Output(plain=True).table(("run", "s"), [("a", "long"), ("bbbb", "x")])
    assert shown.getvalue() == "run   s\na     long\nbbbb  x\n"


def test_a_terminal_without_unicode_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    shown.encoding = "ascii"
    Output(plain=True).say("né")
    assert shown.getvalue() == "n?\n"


def test_plain_takes_dataclasses() -> None:
    from core.monitor.doctor import Finding

    assert plain(Finding("a", "ok", "b"))["level"] == "ok"
