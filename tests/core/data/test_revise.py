"""Decisions taken into a survey give what a survey with those decisions finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import CHATML, ModelMaker

from core.config.schema import RunConfig
from core.data.facts import facts_of
from core.data.overlay import EDITED, Overlay
from core.data.read.index import RowIndex
from core.data.read.sources import Row
from core.data.survey import Survey
from core.data.tokens.codec import ChatCodec

COLUMNS = ("chars", "answer_chars", "turns", "tokens", "tokens_used", "loss_tokens", "line", "file",
           "origin", "stop_trained")  # fmt: skip


def line(number: int) -> dict[str, Any] | bytes:
    """Rows of which some repeat others, some are broken, some are long."""
    if number % 17 == 3:
        return b"{broken"
    if number % 11 == 5:
        return {"instruction": "q", "output": ""}
    if number % 13 == 7:
        return {"instruction": f"Long {number}? " * 40, "output": "Cut off."}
    return {"instruction": f"Question {number % 40}?", "output": "Answer. " * (1 + number % 4)}


def seen(survey: Survey) -> dict[str, Any]:
    """All that is known of the rows, whatever number a word has."""
    survey.settle()
    values: dict[str, Any] = {name: getattr(survey, name).tolist() for name in COLUMNS}
    for name, words in (("reason", "reasons"), ("roles", "patterns"), ("format", "formats")):
        known, kept = getattr(survey, words), survey.reason == 0
        numbers = getattr(survey, name) if name == "reason" else getattr(survey, name)[kept]
        values[name] = [known[number] for number in numbers.tolist()]
    values["notes"] = {name: survey.noted(name).tolist() for name in survey.notes
                       if survey.noted(name).any()}  # fmt: skip
    account = survey.tally.as_dict()
    files = account.pop("files")
    assert isinstance(files, list)
    account["files"] = [{k: v for k, v in file.items() if v} for file in files]
    return values | {
        "tally": account,
        "content": survey.content_sha256,
        "forecast": survey.forecast.as_dict(),
        "sample": sorted((s.key, s.prompt, s.answer) for s in survey.sample),
        "facts": facts_of(survey),
    }


class Deciding:
    """Decides about rows of files at random, and tells a survey of it."""

    def __init__(self, survey: Survey, overlay: Overlay, paths: list[Path], seed: int):
        self.survey, self.overlay, self.rng = survey, overlay, random.Random(seed)
        self.rows = []
        for path in paths:
            index = RowIndex(path)
            index.scan_all()
            self.rows += [index.row(number) for number in range(index.count)]
            index.close()
        self.values = [row.value for row in self.rows if isinstance(row, Row)]

    def decide(self, times: int) -> None:
        for _ in range(times):
            chosen = self.rng.sample(range(len(self.rows)), self.rng.choice([1, 1, 1, 5]))
            for number in chosen:
                row, way = self.rows[number], self.rng.random()
                if way < 0.4:
                    self.overlay.drop(row)
                elif way < 0.6:
                    self.overlay.restore(row)
                elif way < 0.8:
                    self.overlay.edit(row, self.rng.choice(self.values))  # may repeat another row
                else:
                    self.overlay.edit(row, {"instruction": f"New {way}", "output": "New."})
            self.survey.revise({number: self.rows[number] for number in chosen}, self.overlay)


@pytest.fixture
def paths(write_lines: Callable[..., Path]) -> list[Path]:
    return [write_lines(*map(line, range(0, 260)), name="first.jsonl"),
            write_lines(*map(line, range(120, 300)), name="second.jsonl")]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("when", ["before", "meanwhile", "behind"])
def test_a_revised_survey_is_that_of_the_decisions(
    when: str, seed: int, paths: list[Path], tmp_path: Path, make_model: ModelMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("core.data.pieces.FIRST_BYTES", 700)
    monkeypatch.setattr("core.data.pieces.PIECE_BYTES", 3000)
    settings = {"files": [str(path) for path in paths], "max_length": 64}
    config = RunConfig.model_validate({"data": settings})
    codec = ChatCodec.load(str(make_model(CHATML)))
    overlay = Overlay(tmp_path / "hand.overlay")
    survey = Survey(config, codec)
    deciding = Deciding(survey, overlay, paths, seed)

    def look(running: Survey) -> None:
        if when == "meanwhile" and not running.complete:
            deciding.decide(1)

    if when == "before":
        deciding.decide(30)
    survey.run(look)
    if when == "behind":
        deciding.decide(30)
    assert len(overlay) > 10
    anew = Survey(RunConfig.model_validate({"data": settings | {"overlay": str(overlay.path)}}),
                  codec).run()  # fmt: skip
    assert survey.tally.balanced
    assert seen(survey) == seen(anew)
    assert survey.noted(EDITED).any()


def test_the_next_of_equal_rows_is_kept_when_the_first_is_dropped(
    write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    row = {"instruction": "q", "output": "a"}
    path = write_lines(row, {"instruction": "other", "output": "b"}, row, row)
    survey = Survey(RunConfig.model_validate({"data": {"files": [str(path)]}})).run()
    overlay = Overlay(tmp_path / "hand.overlay")
    first = Row(str(path), 1, row)
    overlay.drop(first)
    survey.revise({0: first}, overlay)
    names = [survey.reasons[number] for number in survey.reason]
    assert names == ["dropped_by_hand", "kept", "kept", "duplicate"]
    assert survey.origin.tolist() == [-1, -1, -1, 2]
    overlay.undo()
    survey.revise({0: first}, overlay)
    assert np.array_equal(survey.origin, [-1, -1, 0, 0])
    assert survey.tally.rejected == {"duplicate": 2}


def test_a_row_decided_about_is_not_compared_nearly(
    write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    """Its chat on disk is that of before, and a row dropped while others are compared stays so."""
    text = " ".join(f"word{n}" for n in range(60))
    rows = [{"instruction": text + end, "output": text} for end in ("", " more", " and more")]
    path = write_lines(*rows)
    settings = {"data": {"files": [str(path)]}, "clean": {"near_duplicates": True}}
    survey = Survey(RunConfig.model_validate(settings))
    overlay = Overlay(tmp_path / "hand.overlay")
    second = Row(str(path), 2, rows[1])
    overlay.edit(second, {"instruction": "new", "output": "new"})
    told: list[str] = []

    def look(running: Survey) -> None:
        if running.progress.stage == "reading" and not told:
            running.revise({1: second}, overlay)
        told.append(running.progress.stage)

    survey.run(look)
    assert [survey.reasons[n] for n in survey.reason] == ["kept", "kept", "near_duplicate"]
    assert "comparing" in told
    survey.close()
