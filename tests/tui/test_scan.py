"""Filters while the rows are still being looked at: what is found so far, and then all of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.config.schema import RunConfig
from core.data.filter import parse
from core.data.overlay import Overlay
from core.data.survey import Survey
from tui import scan
from tui.columns import column
from tui.rows import Rows

COUNT = 600


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    monkeypatch.setattr("core.data.pieces.FIRST_BYTES", 4000)
    monkeypatch.setattr("core.data.pieces.PIECE_BYTES", 4000)
    path = tmp_path / "rows.jsonl"
    values = [{"prompt": f"question {n}", "completion": "" if n % 3 == 0 else f"answer {n}"}
              for n in range(COUNT)]  # fmt: skip
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    found = Rows(RunConfig.model_validate({"data": {"files": [str(path)]}}))
    found.open()
    found.scan(lambda: True)
    yield found
    found.close()


def empty(rows: Rows) -> Survey:
    rows.expect(Survey(rows.config))
    assert rows.survey is not None
    return rows.survey


@pytest.mark.parametrize("line", ["reason:missing,empty", "is:rejected /question/", "-is:kept 2"])
def test_a_filter_that_asks_the_survey_follows_it_to_its_end(rows: Rows, line: str) -> None:
    survey, go_on, told = empty(rows), threading.Event(), list[float]()

    def wait(running: Survey) -> None:
        if not running.complete and running.done > COUNT // 2:
            go_on.wait(20)

    thread = threading.Thread(target=survey.run, args=(wait,))
    thread.start()
    while survey.done <= COUNT // 2:
        time.sleep(0.01)
    half = survey.done
    found: list[int] = []
    for numbers, part in scan.select(rows, parse(line), told.append):
        found += numbers.tolist()
        if not go_on.is_set():
            assert part <= half / COUNT
            if found:
                assert len(found) < COUNT // 3
                go_on.set()
    thread.join()
    assert sorted(found) == [n for n in range(0, COUNT, 3) if "2" not in line or "2" in str(n)]
    assert all(0 <= part <= 1 for part in told)


def test_sorting_by_what_the_survey_finds_waits_for_it(rows: Rows) -> None:
    survey, halfway, go_on = empty(rows), threading.Event(), threading.Event()

    def wait(running: Survey) -> None:
        if not running.complete and running.done > COUNT // 2:
            halfway.set()
            go_on.wait(20)

    thread = threading.Thread(target=survey.run, args=(wait,))
    thread.start()
    assert halfway.wait(20)
    told: list[float] = []

    def tick(part: float) -> None:
        told.append(part)
        go_on.set()

    order = scan.sort(rows, np.arange(COUNT), column("reason"), down=False, tick=tick)
    thread.join()
    assert told
    assert told[0] < 1
    assert order.tolist() == [
        *(n for n in range(COUNT) if n % 3), *(n for n in range(COUNT) if n % 3 == 0)
    ]  # fmt: skip


def test_a_text_filter_does_not_wait_for_the_survey(rows: Rows) -> None:
    empty(rows)
    for line in ('"question 5"', "/question 5/"):
        parts = list(scan.select(rows, parse(line), lambda _: None))
        found = np.sort(np.concatenate([numbers for numbers, _ in parts])).tolist()
        assert found == [n for n in range(COUNT) if str(n).startswith("5")]
        assert parts[-1][1] == 1.0


def test_rows_edited_by_hand_are_found_by_their_new_text(rows: Rows, tmp_path: Path) -> None:
    survey = empty(rows).run()
    rows.overlay = Overlay(tmp_path / "rows.overlay")
    rows.edit(7, {"prompt": "something else", "completion": "yes"})
    parts = list(scan.select(rows, parse('"something else"'), lambda _: None))
    assert np.concatenate([numbers for numbers, _ in parts]).tolist() == [7]
    parts = list(scan.select(rows, parse('"question 7"'), lambda _: None))
    found = np.concatenate([numbers for numbers, _ in parts]).tolist()
    assert 7 not in found
    assert 70 in found
    assert survey.noted("edited_by_hand").sum() == 1


def test_it_ends_when_it_is_told_to(rows: Rows) -> None:
    empty(rows)

    def end(_: float) -> None:
        raise scan.Ended

    with pytest.raises(scan.Ended):  # the survey never begins
        list(scan.select(rows, parse("is:kept"), end))
