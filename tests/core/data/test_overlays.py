"""Overlay files are found again beside their data, and new ones get a name that is free."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.config.samples import sample_data
from core.data.overlay import Overlay
from core.data.overlays import near, new_path
from core.data.read.sources import Row

LINE = '{"prompt": "one", "completion": "1"}\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; data lies in another one."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text(LINE * 3, encoding="utf-8")
    return path


def row(file: Path, line: int = 1) -> Row:
    return Row(str(file), line, {"prompt": "one", "completion": "1"})


def test_what_decides_about_the_data_is_found_whatever_its_name(data: Path, here: Path) -> None:
    beside = Overlay(data.with_name("any name.overlay"))
    beside.drop(row(data), row(data, 2))
    beside.edit(row(data, 3), {"prompt": "a"})
    (found,) = near([str(data)])
    assert found.path == beside.path
    assert found.words == "2 rows dropped, 1 edited"
    assert found.others == ()

    late = Overlay(here / "rows.overlay")
    late.edit(row(data), {"prompt": "b"})
    os.utime(here / "rows.overlay", (4e9, 4e9))
    assert [(one.path, one.words) for one in near([str(data)])] == [
        (late.path, "1 row edited"),
        (beside.path, "2 rows dropped, 1 edited"),
    ]


def test_what_decides_about_other_data_is_not_ours(data: Path) -> None:
    other = data.with_name("other.jsonl")
    other.write_text(LINE, encoding="utf-8")
    overlay = Overlay(data.with_name("rows.overlay"))
    overlay.drop(row(other))
    assert near([str(data)]) == []
    overlay.drop(row(data))
    (found,) = near([str(data)])
    assert (found.words, found.about_others) == ("1 row dropped", "other.jsonl")


def test_files_of_other_programs_are_passed_over_and_damage_is_told(data: Path) -> None:
    path = data.with_name("device.overlay")
    path.write_text("something else\n", encoding="utf-8")
    assert near([str(data)]) == []
    path = path.rename(data.with_name("rows.overlay"))  # the name of one that lost its beginning
    (found,) = near([str(data)])
    assert "rows.overlay:1 is no overlay of finetui" in found.problem
    path.write_text('{"finetui_overlay": 1}\n{"file": 3}\n', encoding="utf-8")
    (found,) = near([str(data)])
    assert "rows.overlay:2 is damaged" in found.problem
    path.write_text('{"finetui_overlay": 2}\n', encoding="utf-8")  # of a later version
    (found,) = near([str(data)])
    assert "it does not begin as one" in found.problem
    path.rename(data.with_name("others.overlay"))
    assert near([str(data)]) == []


def test_a_new_one_lies_beside_the_data_under_a_free_name(data: Path) -> None:
    path = new_path([str(data), "more.jsonl"])
    assert path == data.with_name("rows.overlay")
    overlay = Overlay(path)
    overlay.drop(row(data))
    assert new_path([str(data)]).name == "rows-2.overlay"
    overlay.undo()
    assert new_path([str(data)]) == path  # nothing that was decided is left in it
    path.write_text("something else\n", encoding="utf-8")
    assert new_path([str(data)]).name == "rows-2.overlay"


def test_a_new_one_is_here_where_the_folder_of_the_data_is_not_ours(
    data: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert new_path([str(data)], ["owner/name"]) == here / "rows.overlay"
    sample = sample_data() / "support_alpaca.jsonl"
    assert new_path([str(sample)]) == here / "support_alpaca.overlay"
    monkeypatch.setattr("core.data.overlays.os.access", lambda *_: False)
    assert new_path([str(data)]) == here / "rows.overlay"
