"""The inspector over a million rows, in a real terminal."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from terminal import Terminal

pytestmark = [pytest.mark.pty]

ROWS = 1_000_000
END = "\x1b[F"


@pytest.fixture
def million(tmp_path: Path) -> Path:
    """A million small rows, of which the last but one speaks of a parcel and one has no answer."""
    path = tmp_path / "million.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, ROWS, 10_000):
            file.writelines(
                f'{{"prompt": "Question {n}", "completion": "{_answer(n)}"}}\n'
                for n in range(start, start + 10_000)
            )
    return path


def _answer(number: int) -> str:
    if number == 700_000:
        return ""
    return "The parcel is there" if number == ROWS - 2 else f"It is {number}"


def test_a_million_rows(million: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    screen = Terminal(["demo", *words(million.name)], tmp_path)

    def give(key: str, prompt: str, line: str) -> None:
        screen.press(key)
        screen.wait_for(prompt, 10)
        screen.press(f"{line}\r")

    try:
        screen.wait_for("Question 7", 20)
        screen.press("1z")
        screen.wait_for("f filter", 20)  # the keys of the pane: it has the focus
        time.sleep(0.5)
        screen.press(END)
        screen.wait_for("Question 999999", 10)
        give("g", "file:line", "500000")
        screen.wait_for("Question 499999", 10)
        give("/", "n and N go on", "parcel")
        screen.wait_for("Question 999998", 20)
        screen.wait_for("1 of 1", 20)
        screen.press("fquestion 77777\r")  # one burst: each key goes where the one before led
        screen.wait_for("filter question 77777: 19 of 1,000,000 rows", 20)
        screen.press("q")
        assert screen.wait() == 0
    finally:
        screen.kill()


def words(name: str) -> list[str]:
    """Flags that take this file, and no other."""
    return ["--data.files", name, "--data.eval_files", "[]"]
