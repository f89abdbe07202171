"""The words of the command line, what they import, and how errors end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_in import Said

import tui.cli.parser as parser
from tui.cli.parser import COMMANDS, parse

Call = Callable[..., Said]
ROOT = Path(parser.__file__).parents[2]


def test_help_names_every_command_and_nothing_else(call: Call) -> None:
    said = call("--help")
    assert said.code == 0
    listed = said.out.split("commands:")[1].split("RUN is")[0].split("\n")
    words = [line.split()[0] for line in listed if line.startswith("    ") and line.split()]
    assert words == [
        "demo", "doctor", "inspect", "estimate", "prepare", "train", "resume", "attach", "pause",
        "continue", "save", "stop", "runs", "show", "merge", "generate",
    ]  # fmt: skip


def test_every_command_has_code_and_help(call: Call) -> None:
    import importlib

    for command in COMMANDS:
        module, _, function = command.code.partition(":")
        assert callable(getattr(importlib.import_module(f"tui.cli.{module}"), function))
        assert call(command.name, "--help").code == 0


def test_train_help_lists_the_settings(call: Call) -> None:
    assert "--train.learning_rate number" in call("train", "--help").out
    assert "--train.learning_rate" not in call("merge", "--help").out


def test_global_options_stand_before_or_after_the_command() -> None:
    for words in (["--runs", "R", "--json", "runs"], ["runs", "--json", "--runs", "R"]):
        command, asked = parse(words)
        assert (command.name, asked.out.as_json, asked.options.runs) == ("runs", True, "R")
    assert parse(["runs"])[1].options.runs is None


def test_settings_are_taken_only_where_they_belong() -> None:
    command, asked = parse(["--plain", "train", "a.toml", "--adapter.r", "8"])
    assert (command.name, asked.options.config, asked.settings) == (
        "train", "a.toml", {"adapter.r": "8"},
    )  # fmt: skip
    # A run may be called like a command.
    assert parse(["show", "train"])[1].options.run == "train"


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["show"], ["merge", "a", "--adapter.r", "8"], ["inspect"], ["--adapter.r", "8"],
     ["train", "a.toml", "b.toml"], ["train", "--detach", "--in-process"], ["generate", "x"],
     ["generate", "x", "--prompt", "p", "--max-new-tokens", "many"]],
)  # fmt: skip
def test_wrong_words_end_with_code_two(call: Call, words: list[str]) -> None:
    said = call(*words)
    assert said.code == 2
    assert said.out == ""
    assert "error" in said.err


def test_the_screen_needs_a_terminal(call: Call) -> None:
    assert call().code == 2
    said = call("demo")
    assert said.code == 2
    assert "--headless" in said.err


def test_an_unexpected_error_is_one_sentence_and_a_file(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def explode(asked: object) -> int:
        raise RuntimeError("boom\nsecond line")

    monkeypatch.setattr("tui.cli.show.runs", explode)
    said = call("runs", "--json")
    assert said.code == 1
    (crash,) = (tmp_path / "state" / "finetui").glob("crash-*.log")
    assert said.err.splitlines()[0] == "finetui: RuntimeError: boom"
    assert str(crash) in said.err
    assert "second line" in crash.read_text(encoding="utf-8")
    assert said.document["error"]["kind"] == "unexpected"


def test_ctrl_c_ends_with_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(asked: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("tui.cli.show.runs", interrupt)
    assert call("runs").code == 130


def _imports(*words: str) -> set[str]:
    """Run the program in a fresh Python and say which of the heavy libraries it loaded."""
    heavy = ("torch", "textual", "transformers", "datasets", "peft", "trl", "pydantic", "rich")
    script = (
        "import sys; from tui.__main__ import main; code = main(sys.argv[1:]);"
        f"print(code, *[m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    code, *loaded = done.stderr.splitlines()[-1].split()
    assert code == "0"
    return set(loaded)


def test_help_loads_nothing_heavy() -> None:
    assert _imports("--help") == set()


@pytest.mark.parametrize("words", [["runs"], ["train", "--help"], ["inspect", "--help"]])
def test_commands_load_neither_torch_nor_the_screen(words: list[str]) -> None:
    assert _imports(*words) <= {"pydantic"}


def test_inspecting_data_loads_neither_torch_nor_the_screen(rows: Path) -> None:
    assert _imports("inspect", str(rows)) <= {"pydantic"}


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_is_no_error(closed: str, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = f'exec "$0" -m tui inspect "$1" --write "$2" {closed}'
    ran = subprocess.run(
        ["bash", "-c", command, sys.executable, rows, out], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "crash" not in ran.stderr
    assert [json.loads(line).keys() for line in out.read_text().splitlines()] == [{"messages"}] * 3
