"""Fields that are not learned are counted, told, and warned of where they look like content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.schema import RunConfig
from core.data import survey as surveys
from core.data.inspect import Report, inspect
from core.data.unlearned import Unlearned


def look(path: Path, **data: Any) -> Report:
    return inspect(RunConfig.model_validate({"data": {"files": [str(path)]} | data}))


def warned(report: Report) -> list[str]:
    return [one.text for one in report.verdict if "looks like content" in one.text]


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"question": f"q {n}", "answer": f"a {n}", "id": n + 1} | more for n in range(count)]


def test_fields_are_counted_in_report_and_facts(write_lines: Callable[..., Path]) -> None:
    report = look(write_lines(*rows(4), *rows(3, choices=["x", "y"])[1:], rows(1)[0]))
    wanted = [
        {"field": "id", "rows": 7, "like_content": 0},
        {"field": "choices", "rows": 2, "like_content": 2},
    ]
    assert report.as_dict()["fields_not_learned"] == wanted
    assert report.facts["fields_not_learned"] == wanted
    assert report.tally.unlearned.words == "id (7), choices (2)"
    assert warned(report)
    assert "(choices in 2 rows)" in warned(report)[0]


def test_few_rows_with_content_and_ids_are_no_warning(write_lines: Callable[..., Path]) -> None:
    report = look(write_lines(*rows(60), {"question": "x", "answer": "y", "title": "T"}))
    assert not warned(report)
    assert report.tally.unlearned.words == "id (60), title (1)"


def test_a_mapping_is_what_was_asked_for(write_lines: Callable[..., Path]) -> None:
    path = write_lines(*rows(3, choices=["x", "y"]))
    columns = {"prompt": "question", "completion": "answer"}
    report = look(path, columns=columns)
    assert not warned(report)
    assert not report.tally.notes
    assert report.tally.unlearned.words == "id (3), choices (3)"


def test_other_processes_count_the_same(
    write_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines(*rows(3000, title="T"))
    alone = look(path).tally.unlearned
    monkeypatch.setattr(surveys, "IN_PROCESS_BYTES", 0)
    assert look(path).tally.unlearned == alone
    assert alone.rows == {"id": 3000, "title": 3000}


def test_a_new_name_in_every_row_is_held_in_bounds() -> None:
    account = Unlearned()
    for number in range(2000):
        account.add({f"field {number}": True, "id": False})
    assert len(account.rows) <= 500
    assert account.rows["id"] == 2000
    assert "and 488 more" in account.words


def test_a_name_with_line_ends_is_told_in_one_line() -> None:
    account = Unlearned()
    account.add({"two\nlines": False})
    assert account.words == "two lines (1)"
