"""Rows dropped, edited and taken back by hand; what is kept, written to a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from idle import TRAINING, settle, shown
from textual.widgets import Input, TextArea
from using import give, opened, words

from core.config.errors import FailedError
from core.config.schema import RunConfig
from core.data.overlay import Overlay
from core.data.read.sources import read_rows
from core.record.folder import RunFolder
from tui.app import FinetuiApp
from tui.screens.ask import Ask
from tui.screens.edit import EditScreen


async def test_a_row_is_dropped_and_taken_back(app: FinetuiApp, tmp_path: Path) -> None:
    before = (tmp_path / "general.jsonl").read_bytes()
    async with opened(app) as pilot:
        rows = app.main.data.table.rows
        assert rows is not None
        await pilot.press("down", "delete")
        await settle(pilot)
        assert rows.reason(1) == "dropped_by_hand"
        assert "3 problems" in shown(app)
        assert "dropped by hand" in shown(app)
        assert app.main.config.draft.text(("data", "overlay")) == "general.overlay"
        assert Overlay("general.overlay").dropped == 1
        assert app.main.data.table.rows is rows  # nothing was opened anew
        await give(pilot, "f", "is:dropped")
        assert len(words(app)) == 1
        await pilot.press("delete")
        await settle(pilot)
        assert rows.reason(1) == ""
        assert len(Overlay("general.overlay")) == 0
        await pilot.press("u")
        await settle(pilot)
        assert rows.reason(1) == "dropped_by_hand"
    assert (tmp_path / "general.jsonl").read_bytes() == before


async def test_a_decision_changes_the_survey_that_is_there(app: FinetuiApp) -> None:
    """The tenth row repeats the first: it is kept when the first is dropped."""
    async with opened(app, (80, 48)) as pilot:
        rows = app.main.data.table.rows
        assert rows is not None
        survey = rows.survey
        assert survey is not None
        assert survey.complete
        assert rows.reason(9) == "duplicate"
        await pilot.press("delete")
        await settle(pilot)
        assert rows.survey is survey
        assert app.main.data._surveying.survey is survey  # no other one was begun
        assert (rows.reason(0), rows.reason(9)) == ("dropped_by_hand", "")
        await pilot.press("left")  # the facts
        await settle(pilot)
        assert "dropped by hand" in shown(app)
        assert survey.tally.rejected["dropped_by_hand"] == 1
        await pilot.press("u")
        await settle(pilot)
        assert (rows.reason(0), rows.reason(9)) == ("", "duplicate")
        assert survey.tally.rejected["dropped_by_hand"] == 0


async def test_a_row_is_edited_text_by_text(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("e")
        await pilot.pause()
        assert isinstance(app.screen, EditScreen)
        assert "Edit general.jsonl:1" in shown(app)
        area = app.screen.query_one(TextArea)
        assert area.text == "Question 1 about a refund"
        await pilot.press("tab")
        await pilot.pause()
        area.text = "A better answer."
        await pilot.press("f2")
        await settle(pilot)
        rows = app.main.data.table.rows
        assert rows is not None
        assert rows.overlay.edited == 1
        assert "A better answer." in shown(app)
        assert "✎" in shown(app)
        await give(pilot, "f", "is:edited")
        assert len(words(app)) == 1
        await give(pilot, "slash", "better")
        assert app.main.data.table.find.matches == [0]
        await pilot.press("escape", "u")
        await settle(pilot)
        assert rows.overlay.edited == 0


async def test_an_edit_is_not_lost_by_escape(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("e")
        await pilot.pause()
        await pilot.press("x", "escape")
        await pilot.pause()
        assert isinstance(app.screen, EditScreen)
        assert "Changed, and not kept" in shown(app)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.main
        assert not Path("general.overlay").exists()


async def test_an_edit_is_not_lost_by_f5(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("e")
        await pilot.pause()
        area = app.screen.query_one(TextArea)
        before = area.text
        await pilot.press("ctrl+end", "x")
        await pilot.pause()
        assert area.text == f"{before}x"
        await pilot.press("f5")
        await pilot.pause()
        assert area.text == f"{before}x"
        assert "F5 once more" in shown(app)
        await pilot.press("escape")  # asks for itself
        await pilot.pause()
        assert isinstance(app.screen, EditScreen)
        await pilot.press("f5", "f5")
        await pilot.pause()
        assert area.text == before


async def test_a_row_without_an_answer_is_repaired_as_json(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await give(pilot, "g", "12")
        await pilot.press("e", "f3")
        await pilot.pause()
        area = app.screen.query_one(TextArea)
        assert '"output": ""' in area.text
        area.text = "no json"
        await pilot.press("f2")
        await pilot.pause()
        assert "this is no row" in shown(app)
        area.text = '{"instruction": "No answer here", "output": "Now there is."}'
        await pilot.press("f2")
        await settle(pilot)
        rows = app.main.data.table.rows
        assert rows is not None
        assert rows.reason(11) == ""
        assert "1 problem" in shown(app)


async def test_rows_that_were_dropped_before_are_taken_back_after_a_question(
    app: FinetuiApp,
) -> None:
    overlay = Overlay("general.overlay")
    overlay.drop(*list(read_rows(["general.jsonl"]))[2:5])
    async with opened(app) as pilot:
        await give(pilot, "f", "is:dropped")
        await pilot.press("D")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        assert "3 rows filtered, each dropped by hand" in shown(app)
        await pilot.press("b")
        for _ in range(50):  # they are written in a thread
            await settle(pilot)
            if not len(Overlay("general.overlay")):
                break
        rows = app.main.data.table.rows
        assert rows is not None
        assert int(rows.word("is", "dropped").sum()) == 0
        await pilot.press("u")  # all of them at once
        await settle(pilot)
        assert Overlay("general.overlay").dropped == 3


async def test_all_filtered_rows_are_dropped_after_a_question(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("D")
        await pilot.pause()
        assert "first filter" in [n.message for n in app._notifications][-1]
        await give(pilot, "f", ".topic:money")
        await pilot.press("D")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        assert "6 rows filtered" in shown(app)
        await pilot.press("d")
        for _ in range(50):  # they are written in a thread
            await settle(pilot)
            if Path("general.overlay").exists() and Overlay("general.overlay").dropped == 6:
                break
        assert Overlay("general.overlay").dropped == 6
        rows = app.main.data.table.rows
        assert rows is not None
        assert int(rows.word("is", "dropped").sum()) == 6
        await pilot.press("u")  # all of them at once
        await settle(pilot)
        assert int(rows.word("is", "dropped").sum()) == 0
        assert len(Overlay("general.overlay")) == 0
        await pilot.press("u")
        await pilot.pause()
        assert "nothing to undo" in [n.message for n in app._notifications][-1]


async def test_rows_are_not_dropped_while_the_filter_still_finds_some(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await give(pilot, "f", ".topic:money")
        find = app.main.data.table.find
        find.begin_job("filtering")
        await pilot.press("D")
        await pilot.pause()
        assert app.screen is app.main
        assert "one moment: filtering" in [n.message for n in app._notifications][-1]
        find.part, find.so_far = 0.5, 6
        await pilot.press("escape", "D")
        await pilot.pause()
        assert "ended at 50%" in " ".join(shown(app).split())


async def test_decisions_are_there_at_the_next_start(
    make_app: Callable[..., FinetuiApp], config: RunConfig
) -> None:
    first = make_app(config=config)
    async with opened(first) as pilot:
        await pilot.press("delete")
        await settle(pilot)
    config.data.overlay = "general.overlay"
    second = make_app(config=config)
    async with opened(second):
        text = shown(second)
        assert "dropped by hand" in text


async def test_what_was_typed_for_a_row_that_is_gone_can_be_read(app: FinetuiApp) -> None:
    overlay, rows = Overlay("general.overlay"), list(read_rows(["general.jsonl"]))
    overlay.edit(rows[0], {"instruction": "Typed", "output": "for a long time"})
    lines = Path("general.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("general.jsonl").write_text("".join(lines[1:9]), encoding="utf-8")
    async with opened(app, (160, 48)) as pilot:
        await pilot.press("z", "right", "enter", "down")
        await settle(pilot)
        assert "edited by hand, for a row that is not there any more" in shown(app)
        assert '"output": "for a long time"' in shown(app)


async def test_decisions_whose_row_is_gone_are_listed_and_let_go(
    make_app: Callable[..., FinetuiApp], config: RunConfig
) -> None:
    first = make_app(config=config)
    async with opened(first) as pilot:
        await pilot.press("delete", "down", "delete")
        await settle(pilot)
    lines = Path("general.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("general.jsonl").write_text("".join(lines[1:]), encoding="utf-8")
    config.data.overlay = "general.overlay"
    second = make_app(config=config)
    async with opened(second) as pilot:
        await pilot.press("right")
        await settle(pilot)
        assert "decisions that fit no row any more" in shown(second)
        await pilot.press("left", "t")
        await settle(pilot)
        assert second.session.folder is None
        assert (
            "not started: 2 decisions fit no row" in [n.message for n in second._notifications][-1]
        )
        assert second.main.data.view.NAME == "problems"
        await pilot.press("delete")
        await settle(pilot)
        assert "decisions that fit no row any more" not in shown(second)
        assert len(Overlay("general.overlay")) == 0


async def test_rows_of_a_run_are_not_decided_about(
    make_app: Callable[..., FinetuiApp], make_run: Callable[..., RunFolder]
) -> None:
    app = make_app(make_run(TRAINING))
    async with opened(app) as pilot:
        await pilot.press("delete")
        await pilot.pause()
        assert "n begins a new run" in [n.message for n in app._notifications][-1]
        assert not list(Path.cwd().glob("*.overlay"))


@pytest.mark.parametrize(("typed", "name"), [("out", "out.jsonl"), ("out.parquet", "out.parquet")])
async def test_what_is_kept_is_written(app: FinetuiApp, typed: str, name: str) -> None:
    async with opened(app) as pilot:
        await pilot.press("delete", "w")
        await pilot.pause()
        assert "general.clean.jsonl" in shown(app)
        await pilot.press(*typed, "enter")
        await settle(pilot)
        rows = app.main.data.table.rows
        assert rows is not None
        kept = int((rows.reasons()[1] == 0).sum())
        chats = [rows.chat(int(n)) for n in np.flatnonzero(rows.reasons()[1] == 0)]
    if name.endswith("jsonl"):
        written = [json.loads(line) for line in Path(name).read_text().splitlines()]
        assert [row["messages"] for row in written] == chats
        assert len(written) == kept
    else:
        import pyarrow.parquet as pq

        assert pq.read_table(name).num_rows == kept


async def test_a_write_that_fails_asks_again_with_the_name(
    app: FinetuiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> int:
        raise FailedError(f"cannot write {path}: No space left on device", kind="not_written")

    monkeypatch.setattr("tui.inspector.decide.write_rows", full)
    async with opened(app) as pilot:
        await pilot.press("w")
        await pilot.pause()
        app.screen.query_one(Input).value = "mine.jsonl"
        await pilot.press("enter")
        await settle(pilot)
        assert app.screen.query_one(Input).value == "mine.jsonl"
        assert "No space left" in [n.message for n in app._notifications][-1]


async def test_a_name_that_cannot_be_written_stays_with_what_is_wrong(app: FinetuiApp) -> None:
    Path("general.clean.jsonl").touch()
    async with opened(app) as pilot:
        await pilot.press("w")
        await pilot.pause()
        name = app.screen.query_one(Input)
        assert name.value == "general.clean-2.jsonl"  # one that is free
        for value, why in (
            ("general.jsonl", "is there already"),
            ("out.csv", "must end in .jsonl or .parquet"),
            ("nowhere/out", "there is no folder nowhere"),
            ("x" * 300, "File name too long"),
            ("~nobody-of-this-name/x", "home directory"),
        ):
            name.value = value
            await pilot.press("enter")
            await pilot.pause()
            assert why in " ".join(shown(app).replace("│", " ").split()), value
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.main
