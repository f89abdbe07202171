"""What arguments of the benchmarks must be: told in a line, before anything begins."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data --megabytes 0", "argument --megabytes: 0 is less than 1"),
        ("data --repeats 0", "argument --repeats: 0 is less than 1"),
        ("data --folder gone", "--folder: there is no folder gone"),
        ("data --model gone", "--model: there is no folder gone"),
        ("data --only prepare", "--only prepare: --model names a folder with a tokenizer"),
        ("data_sources read --rows 0", "argument --rows: 0 is less than 1"),
        ("data_sources index --megabytes -1", "argument --megabytes: -1 is less than 1"),
        ("data_tokens pack --rows -1", "argument --rows: -1 is less than 1"),
        ("data_tokens pack --repeats 0", "argument --repeats: 0 is less than 1"),
        ("kernel_times --length 0", "argument --length: 0 is less than 1"),
        ("kernel_times --rank 0", "argument --rank: 0 is less than 1"),
        ("kernel_times --gb-per-second 0", "argument --gb-per-second: '0' is no number above 0"),
        ("pinning --gib 0", "argument --gib: 0 is less than 1"),
        ("screen paint --starts 0", "argument --starts: 0 is less than 1"),
        ("screen rest --seconds 0", "argument --seconds: '0' is no number above 0"),
        ("screen training --model . --data gone", "training: --data names a file, not gone"),
        ("screen training --data gone", "training: --model names a folder, not None"),
        ("screen inspector", "inspector: --data names a file, not None"),
    ],
)
def test_a_bad_argument_is_told_in_a_line(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name, *arguments = words.split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    program = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)
