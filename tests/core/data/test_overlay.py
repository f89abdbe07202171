"""Decisions about rows: they find their row, survive a kill, and are missed when it is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.errors import FailedError, InputError, RefusedError
from core.data.overlay import DROPPED, Overlay, digest, require
from core.data.read.sources import Rejected, Row, read_rows

LINES = [
    '{"prompt": "one", "completion": "1"}',
    '{"prompt": "two", "completion": "2"}',
    '{"prompt": "three", "completion": ',
    '{"prompt": "two", "completion": "2"}',
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.overlay"


def rows(data: Path) -> list[Row | Rejected]:
    return list(read_rows([data]))


def test_without_decisions_rows_stay_as_they_are(data: Path) -> None:
    overlay = Overlay()
    assert [overlay.apply(row) for row in rows(data)] == rows(data)
    overlay.check()


def test_dropped_and_edited_rows_survive_a_new_start(data: Path, path: Path) -> None:
    before = data.read_bytes()
    first = Overlay(path)
    one, two, broken, again = rows(data)
    first.drop(one)
    first.edit(broken, {"prompt": "three", "completion": "3"})
    first.edit(again, {"prompt": "two", "completion": "zwei"})

    second = Overlay(path)
    got = [second.apply(row) for row in rows(data)]
    assert isinstance(got[0], Rejected)
    assert got[0].reason == DROPPED
    assert "one" in got[0].raw
    assert got[1] == two
    assert [row.value["completion"] for row in got[2:] if isinstance(row, Row)] == ["3", "zwei"]
    assert [row.line for row in got] == [1, 2, 3, 4]
    assert (second.dropped, second.edited) == (1, 2)
    second.check()
    assert data.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_content_elsewhere_is_another_row(data: Path, path: Path) -> None:
    overlay = Overlay(path)
    _, two, _, again = rows(data)
    overlay.drop(again)
    assert overlay.apply(two) is two
    assert isinstance(overlay.apply(again), Rejected)


def test_undo_takes_back_one_by_one(data: Path, path: Path) -> None:
    overlay = Overlay(path)
    one = rows(data)[0]
    overlay.edit(one, {"prompt": "a", "completion": "b"})
    overlay.drop(one)
    assert overlay.undo() == [("rows.jsonl", 1, digest(one))]
    changed = Overlay(path).apply(one)
    assert isinstance(changed, Row)
    assert changed.value["prompt"] == "a"
    assert overlay.undo()
    assert Overlay(path).apply(one) is one
    assert overlay.undo() == []
    assert len(overlay) == 0


def test_a_decision_again_is_no_new_one(data: Path, path: Path) -> None:
    overlay = Overlay(path)
    one = rows(data)[0]
    overlay.drop(one)
    overlay.drop(one)
    overlay.undo()
    assert overlay.apply(one) is one
    assert overlay.undo() == []
    overlay.drop(one)
    overlay.restore(one)
    assert Overlay(path).apply(one) is one


def test_changed_data_is_noticed(data: Path, path: Path) -> None:
    overlay = Overlay(path)
    for row in rows(data):
        overlay.drop(row)
    data.write_text(LINES[0] + "\n\n" + "\n".join(LINES[1:]) + "\n", encoding="utf-8")
    late = Overlay(path)
    got = [late.apply(row) for row in rows(data)]
    assert [isinstance(row, Rejected) and row.reason == DROPPED for row in got] == [
        True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(RefusedError, match=r"3 of 4 .* fit no row any more: rows.jsonl:2") as told:
        late.check()
    assert told.value.kind == "overlay_unmet"
    late.forget(late.unmet())
    late.check()
    assert len(Overlay(path)) == 1


def test_several_rows_on_one_line_are_told_apart(tmp_path: Path, path: Path) -> None:
    data = tmp_path / "rows.json"
    data.write_text(f"[{LINES[0]}, {LINES[1]}]", encoding="utf-8")
    overlay = Overlay(path)
    overlay.drop(rows(data)[1])
    assert [isinstance(overlay.apply(row), Rejected) for row in rows(data)] == [False, True]


def test_data_and_overlay_may_move_together(data: Path, path: Path, tmp_path: Path) -> None:
    Overlay(path).drop(rows(data)[0])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for one in (data, path):
        one.rename(moved / one.name)
    overlay = Overlay(moved / path.name)
    assert isinstance(overlay.apply(rows(moved / data.name)[0]), Rejected)


def test_a_line_torn_by_a_kill_costs_that_decision_only(data: Path, path: Path) -> None:
    one, two, *_ = rows(data)
    Overlay(path).drop(one)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"file": "rows.jsonl", "li')
    torn = Overlay(path)
    assert len(torn) == 1
    torn.drop(two)
    assert len(Overlay(path)) == 2
    assert "li\n" not in path.read_text(encoding="utf-8")


def test_a_last_line_that_only_lost_its_end_stays(data: Path, path: Path) -> None:
    one, two, *_ = rows(data)
    Overlay(path).drop(one)
    path.write_bytes(path.read_bytes()[:-1])
    assert len(Overlay(path)) == 1
    Overlay(path).drop(two)
    assert len(Overlay(path)) == 2


@pytest.mark.parametrize("damage", [b'{"file": "rows.jsonl", "li', b"\xff\xfe", b"{}", b"7"])
@pytest.mark.parametrize("place", [1, -1])
def test_a_damaged_line_is_not_passed_over(
    data: Path, path: Path, damage: bytes, place: int
) -> None:
    Overlay(path).drop(*rows(data))
    lines = path.read_bytes().splitlines()
    lines[place] = damage
    path.write_bytes(b"\n".join(lines) + b"\n")
    number = len(lines) if place < 0 else place + 1
    with pytest.raises(InputError, match=rf"rows\.overlay:{number} is damaged") as told:
        Overlay(path)
    assert f"remove line {number}" in told.value.remedies[1]


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "no overlay"}\n',
        "plain text\n",
        '{"finetui_overlay": 1}\n{"file": "a"}\n',
        '{"finetui_overlay": 1}\n{"file": "a", "line": 1, "sha256": "x", "do": "edit", "row": 3}\n',
    ],
)
def test_other_files_are_refused_by_name_and_line(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"rows\.overlay:(1 is no overlay|2 is damaged)"):
        Overlay(path)


def test_a_folder_that_cannot_be_written_is_said(data: Path, tmp_path: Path) -> None:
    overlay = Overlay(tmp_path / "missing" / "rows.overlay")
    with pytest.raises(FailedError, match="cannot write"):
        overlay.drop(rows(data)[0])
    assert len(overlay) == 0
    with pytest.raises(InputError, match="no overlay file"):
        Overlay().drop(rows(data)[0])


def test_the_fingerprint_is_that_of_the_decisions(data: Path, path: Path) -> None:
    one, two, *_ = rows(data)
    overlay = Overlay(path)
    assert overlay.fingerprint == Overlay().fingerprint
    overlay.drop(one)
    overlay.drop(two)
    both = overlay.fingerprint
    other = Overlay(path.with_name("other.overlay"))
    other.drop(two)
    assert other.fingerprint != both
    other.drop(one)
    assert other.fingerprint == both


def test_the_file_is_one_json_object_a_line(data: Path, path: Path) -> None:
    Overlay(path).drop(rows(data)[0])
    header, entry = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert header == {"finetui_overlay": 1}
    assert (entry["file"], entry["line"], entry["do"]) == ("rows.jsonl", 1, "drop")


def test_a_file_that_was_made_this_moment_has_no_decisions(tmp_path: Path) -> None:
    path = tmp_path / "new.overlay"
    path.touch()
    assert len(Overlay(path)) == 0


def test_an_overlay_that_is_not_there_is_no_overlay_without_decisions(path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        require(path)
    path.touch()
    require(path)
    require(None)


def test_many_rows_are_dropped_at_once_and_taken_back_at_once(data: Path, path: Path) -> None:
    overlay = Overlay(path)
    one, two, broken, again = rows(data)
    overlay.drop(two)
    overlay.drop(one, two, broken, again)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1 + 1 + 3
    assert Overlay(path).dropped == 4
    assert len(overlay.last) == 3
    overlay.undo()
    assert Overlay(path).apply(again) is again
    assert Overlay(path).dropped == 1
    overlay.drop(one)
    overlay.drop(broken, again, goes_on=True)
    overlay.undo()
    assert Overlay(path).dropped == 1


def test_half_a_write_leaves_nothing_behind(
    data: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay = Overlay(path)
    one, two, *_ = rows(data)
    overlay.drop(one)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.data.overlay.os.fsync", full)
    with pytest.raises(FailedError, match="No space left on device; nothing was decided"):
        overlay.drop(two)
    assert path.read_bytes() == before
    with pytest.raises(FailedError):
        overlay.undo()
    assert overlay.dropped == 1
    monkeypatch.undo()
    assert overlay.undo()  # it was not forgotten by the one that failed


def test_decisions_about_a_file_of_other_data_are_not_missed(
    data: Path, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(LINES[0] + "\n", encoding="utf-8")
    overlay = Overlay(path)
    overlay.drop(rows(data)[0], rows(other)[0])
    late = Overlay(path)
    assert len([late.apply(row) for row in rows(data)]) == 4
    late.check()
    other.unlink()  # renamed, or gone: what was decided about it is missed
    with pytest.raises(RefusedError, match=r"other\.jsonl:1"):
        late.check()
