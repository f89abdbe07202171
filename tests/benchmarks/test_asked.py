"""What the command line of train.py asks for, and what it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--rows tiny --change steps=many", "no value in JSON"),
        ("--rows tiny --change speed=1", "a workload has no speed"),
        ("--rows tiny --set train.path", "NAME=VALUE"),
        ("--rows tinny", "unknown: tinny"),
        ("--table nowhere.jsonl", "there is no nowhere.jsonl"),
        ("--rows tiny --lengths a,b", "argument --lengths: 'a' is no whole number"),
        ("--rows tiny --gpus 0", "argument --gpus: 0 is less than 1"),
        ("--rows tiny --rounds 0", "argument --rounds: 0 is less than 1"),
        ("--rows tiny --budget-seconds nan", "argument --budget-seconds: 'nan' is no time"),
        ("--rows tiny --run-seconds -1", "argument --run-seconds: '-1' is no time from 0 on"),
        ("--rows tiny --python-path nope=/x", "--python-path nope: give one of finetui,"),
        ("--rows tiny,tiny-context --lengths 64", "--lengths: tiny searches for no length"),
        ("--rows tiny --env foo", "--env foo: give NAME:KEY=VALUE"),
        ("--rows tiny --env trl:KEY", "--env trl:KEY: give NAME:KEY=VALUE"),
        ("--rows tiny --env nobody:KEY=1", "the name being an entrant or all"),
        ("--rows tiny --change steps=0", "--change steps=0: give a whole number from 1 on"),
        ("--rows tiny --change steps=2", "tiny: of 2 steps none is timed after a warm-up of 2"),
        ("--rows tiny --change batch=true", "--change batch=true: give a whole number from 1 on"),
        ("--rows tiny --change dropout=1", "give a number from 0 to below 1"),
        ("--rows tiny --change mixed=1", "give true or false"),
        ("--rows tiny --change device_gib=0", "give a number above 0, or null"),
        ('--rows tiny --change model="gpt"', "give one of llama31-8b,"),
        ("--rows tiny --change settings=[]", "give settings and their values"),
        ('--rows tiny --change name="x"', "a workload has no name"),
        ("--rows tiny --peers guides", "--peers: guides takes part in none of these rows"),
        ("--rows tiny --out .", ": this is a folder; name a file in it"),
        ("--rows tiny --out file/new/out", "/file is a file"),
        ("--rows tiny --logs file", "/file is a file"),
        ("--rows tiny --models file", "/file is a file"),
        ("--rows tiny --python-path trl=/nonexist", "trl=/nonexist: there is no folder /nonexist"),
        ("--rows tiny --python-path trl=.:gone:file", "there is no folder gone, file"),
        ("--rows tiny --python-path trl=:", "--python-path trl=:: there is no folder"),
        ("--rows tiny --set train.foo=1", "unknown key 'foo' in [train]"),
        ("--rows tiny --set train.seed=x", "train.seed is 'x', but must be a whole number"),
        ("--rows tiny --change rank=5000", "adapter.lora_alpha is '5000': must be less"),
        ('--rows tiny --change settings={"train.path":"x"}', "train.path is 'x', but must be"),
        ("--rows tiny --peers trl --set train.seed=1", "settings of finetui, which is not"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    modules: Any, arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments.split()])
    with pytest.raises(SystemExit):
        modules["train"].parse()
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_group_stands_for_its_rows(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, rows = modules["shapes"].GROUPS, modules["shapes"].ROWS
    assert all(set(names) <= set(rows) for names in groups.values())
    monkeypatch.setattr(sys, "argv", ["train.py", "--rows", "6gib,llama2-7b-6gib,longest-24",
                                      "--out", "/dev/null", "--logs", "/tmp"])  # fmt: skip
    names = [row.name for row in modules["train"].parse().rows]
    assert names == ["qwen25-7b-6gib", "llama2-7b-6gib", "longest-24"]


def test_no_folder_is_made_beside_a_folder_that_is_no_place_for_results(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(sys, "argv", ["train.py", "--rows", "tiny", "--out",
                                      str(tmp_path / "results"),
                                      "--models", str(tmp_path)])  # fmt: skip
    with pytest.raises(SystemExit):
        modules["train"].parse()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_settings_are_checked_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, train\ntrain.parse()\n"
        "assert 'pydantic' in sys.modules and 'torch' not in sys.modules"
    )
    words = ["--rows", "tiny", "--set", "train.seed=1", "--models", str(tmp_path)]
    command = [sys.executable, "-c", code, *words, "--out", str(tmp_path / "out")]
    subprocess.run(command, cwd=BENCHMARKS, check=True)


def test_packages_are_named_in_full(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A measurement runs in the folder of the logs."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "--rows", "tiny", "--models", ".",
                                      "--python-path", "trl=one:two"])  # fmt: skip
    path = modules["train"].paths(modules["train"].parse())["trl"]
    assert path.split(os.pathsep)[-2:] == [str(tmp_path / "one"), str(tmp_path / "two")]
