"""Results in JSON lines: what is read, refused and left out, and what is the same measurement."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Made = Callable[..., dict[str, Any]]


def lines(*results: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in results)


@pytest.mark.parametrize("rest", ['{"row": "8b', "{", '{"row": "8b-2x2048", "entrant"'])
def test_a_line_cut_short_is_left_out_and_makes_room(
    modules: Any, made: Made, rest: str, tmp_path: Path
) -> None:
    file, results = tmp_path / "results.jsonl", modules["results"]
    file.write_text(lines(made("trl", 1, 1)) + rest, encoding="utf-8")
    assert [one["entrant"] for one in results.read([file])] == ["trl"]
    results.add(file, made("finetui", 2, 1))
    assert [one["entrant"] for one in results.read([file])] == ["trl", "finetui"]
    assert rest not in file.read_text(encoding="utf-8").splitlines()


def test_a_line_without_its_end_is_kept(modules: Any, made: Made, tmp_path: Path) -> None:
    file, results = tmp_path / "results.jsonl", modules["results"]
    file.write_text(lines(made("trl", 1, 1)).rstrip("\n"), encoding="utf-8")
    results.add(file, made("finetui", 2, 1))
    assert [one["entrant"] for one in results.read([file])] == ["trl", "finetui"]
    notes = tmp_path / "notes"
    notes.write_text("no result", encoding="utf-8")
    results.add(notes, made("finetui", 2, 1))
    assert notes.read_text(encoding="utf-8").startswith("no result\n{")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"entrant": "trl", "outcome": "failed"}', "line 2, is no result of a measurement"),
        (b"[1]", "line 2, is no result of a measurement"), (b"\xff\x00", "is no text"),
        (b"import json", "line 2, is no JSON"), (b'{"row": "8b', "line 2, is no JSON"),
        (b'{"row": "8b-2x2048", "entrant": "me", "outcome": "measured"}',
         "line 2, is of an entrant that is not known, me; known: finetui,"),
        ({"tokens_per_second": "fast"},
         'line 2, has "fast" as tokens_per_second, which is a number'),
        ({"peak_allocated_gib": True}, "line 2, has true as peak_allocated_gib"),
        ({"turn": []}, "line 2, has [] as turn, which is a number"),
        ({"card": 3}, "line 2, has 3 as card, which is a text"),
        ({"set": "train.path"}, 'line 2, has "train.path" as set, which is a list of texts'),
        ({"set": [1]}, "line 2, has [1] as set, which is a list of texts"),
        ({"versions": {"torch": 2}}, 'line 2, has {"torch": 2} as versions'),
        ({"changes": []}, "line 2, has [] as changes, which is values by name"),
    ],
)  # fmt: skip
def test_a_table_of_other_things_is_told(
    modules: Any, made: Made, line: bytes | dict[str, Any], said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = tmp_path / "results.jsonl"
    whole = line if isinstance(line, bytes) else json.dumps(made("trl", 1, 1, **line)).encode()
    file.write_bytes(lines(made("trl", 1, 1)).encode() + whole + b"\n")
    monkeypatch.setattr(sys, "argv", ["train.py", "--table", str(file)])
    with pytest.raises(SystemExit) as caught:
        modules["train"].main()
    assert str(caught.value).startswith(str(file))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no results of measurements"),
        ('{"row": "8b', "holds no results of measurements"),
        ('{"row": "old", "entrant": "gone", "outcome": "measured"}\n',
         "holds no results of measurements: no workload is called old"),
    ],
)  # fmt: skip
def test_a_file_with_nothing_for_the_table_is_told(
    modules: Any, made: Made, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, good = tmp_path / "results.jsonl", tmp_path / "good.jsonl"
    file.write_text(text, encoding="utf-8")
    good.write_text(lines(made("trl", 1, 1)), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["train.py", "--table", str(good), str(file)])
    with pytest.raises(SystemExit) as caught:
        modules["train"].main()
    assert str(caught.value) == f"{file} {said}"


def test_other_settings_or_changes_are_another_measurement(modules: Any, made: Made) -> None:
    key = modules["results"].key
    bare = made("finetui", 1, 1, turn=1)
    assert key(bare) == key(bare | {"set": None, "changes": None}) == key(bare | {"set": []})
    both = {"set": ["a=1", "b=2"], "changes": {"rank": 8, "steps": 5}}
    turned = {"set": ["b=2", "a=1"], "changes": {"steps": 5, "rank": 8}}
    assert key(bare | both) == key(bare | turned)
    others = [{}, {"set": ["a=1"]}, {"changes": {"rank": 8}}, {"turn": 2}, {"entrant": "trl"}]
    assert len({key(bare | other) for other in others}) == len(others)


def test_a_success_with_other_settings_hides_no_failure(modules: Any, made: Made) -> None:
    failure = made("finetui", 1, 1, turn=1, outcome="failed", set=["memory.limit_gib=7.6"])
    success = made("finetui", 1, 1, turn=1, set=[])
    failed = modules["results"].failed
    assert failed([failure, success]) == [failure]
    assert failed([failure, failure | {"outcome": "measured"}]) == []
