"""The rules of cleaning: counts, switches, values, and a row before and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from idle import settle, shown
from textual.pilot import Pilot
from using import opened

from core.config.schema import RunConfig
from core.data.clean.rules import RULES
from core.data.overlay import Overlay
from core.data.read.sources import read_rows
from core.data.trial import Trial
from tui.app import FinetuiApp
from tui.inspector.rules import Rules


@pytest.fixture
def dirty(tmp_path: Path) -> str:
    """Twenty rows: every fifth with HTML, one with an address, one with a placeholder."""
    rows = [{"instruction": f"Ask {n}", "output": f"<p>Answer {n}</p>" if n % 5 == 0 else f"It {n}"}
            for n in range(20)]  # fmt: skip
    rows[1]["output"] = "Write to anna.meier@posteo.de today"
    rows[2]["output"] = "Dear {{name}}, hello"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "dirty.jsonl").write_text(text, encoding="utf-8")
    return "dirty.jsonl"


@pytest.fixture
def dirty_app(make_app: Callable[..., FinetuiApp], dirty: str) -> FinetuiApp:
    return make_app(config=RunConfig.model_validate({"data": {"files": [dirty]}}))


async def at_rule(pilot: Pilot[None], app: FinetuiApp, name: str) -> Rules:
    """Go to a rule."""
    await pilot.press("right", "right", "right")
    await settle(pilot)
    view = app.main.data.view
    assert isinstance(view, Rules)
    view.list.move_to(view._fields.index(name))
    await settle(pilot)
    return view


def test_a_trial_counts_each_rule_on_its_own(dirty: str) -> None:
    trial = Trial(RunConfig(), Overlay())
    for number, row in enumerate(read_rows([dirty])):
        trial.look(number, row)
    assert trial.looked == 20
    assert trial.found == {"html": 4, "personal_data": 1, "placeholders": 1}
    assert trial.examples["html"] == [0, 5, 10, 15]


def test_rows_that_are_empty_and_those_that_repairs_empty_are_told(tmp_path: Path) -> None:
    rows = [{"instruction": "Ask", "output": output} for output in ("", "<p> </p>", "It is.")]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "empty.jsonl").write_text(text, encoding="utf-8")
    found = list(read_rows([str(tmp_path / "empty.jsonl")]))
    rule = next(rule for rule in RULES if rule.name == "empty")
    for html, examples in ((False, [0]), (True, [0, 1])):
        trial = Trial(RunConfig.model_validate({"clean": {"html": html}}), Overlay())
        for number, row in enumerate(found):
            trial.look(number, row)
        assert trial.examples["empty"] == examples
    assert trial.shown(rule, found[0]) == (
        "turn 2 (assistant) is empty: rejected whether this is on or off"
    )
    assert trial.shown(rule, found[1]) == "turn 2 (assistant) is empty after the repairs"


async def test_limits_in_tokens_are_counted_by_the_survey(
    make_app: Callable[..., FinetuiApp], config: RunConfig
) -> None:
    limited = RunConfig.model_validate(
        config.model_dump() | {"clean": {"min_answer_tokens": 8, "max_tokens": None}}
    )
    app = make_app(config=limited)
    async with opened(app, (160, 48)) as pilot:
        view = await at_rule(pilot, app, "min_answer_tokens")
        assert view.rows is not None
        names, codes = view.rows.reasons()
        assert int((codes == names.index("too_short")).sum()) == 2
        # Each rule looks on its own: a row that is also a duplicate counts here, too.
        assert view._count("min_answer_tokens", view._rules["min_answer_tokens"]) == "3"
        view.list.move_to(view._fields.index("max_tokens"))
        await settle(pilot)
        assert "It has no value" in shown(app)


async def test_groups_of_near_duplicates_are_shown(
    make_app: Callable[..., FinetuiApp], tmp_path: Path
) -> None:
    story = " ".join(f"word{n}" for n in range(80))
    rows = [{"instruction": f"Say {n % 2}", "output": f"{story} {n}" if n < 4 else f"Only {n}"}
            for n in range(8)]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "near.jsonl").write_text(text, encoding="utf-8")
    app = make_app(config=RunConfig.model_validate({"data": {"files": ["near.jsonl"]}}))
    async with opened(app, (160, 48)) as pilot:
        await pilot.press("z")
        view = await at_rule(pilot, app, "near_duplicates")
        assert "Once near duplicates is on, they are counted" in shown(app)
        await pilot.press("space")
        for _ in range(5):
            await settle(pilot)
        assert view.rows is not None
        assert view._count("near_duplicates", None) == "3"
        view._say()
        await pilot.pause()
        assert "group 1 of 1: 4 rows" in shown(app)
        assert "kept  row 1  Say 0" in shown(app)
        await pilot.press("f")
        await settle(pilot)
        assert app.main.data.table.list.cursor == 0


async def test_rules_show_what_they_would_do(dirty_app: FinetuiApp) -> None:
    async with opened(dirty_app, (160, 48)) as pilot:
        await pilot.press("z")
        await at_rule(pilot, dirty_app, "html")
        text = shown(dirty_app)
        assert "counted in 20 of 20 rows" in text
        assert "row 1  ·  example 1 of 4" in text
        assert "before  <p>Answer 0</p>" in text
        assert "after   Answer 0" in text
        await pilot.press("n")
        await pilot.pause()
        assert "row 6  ·  example 2 of 4" in shown(dirty_app)


async def test_a_rule_is_switched_and_the_rows_follow(dirty_app: FinetuiApp) -> None:
    async with opened(dirty_app) as pilot:
        view = await at_rule(pilot, dirty_app, "html")
        await pilot.press("space")
        await settle(pilot)
        assert dirty_app.main.config.draft.text(("clean", "html")) == "yes"
        rows = view.rows
        assert rows is not None
        assert rows.config.clean.html
        assert view.list.cursor == view._fields.index("html")
        assert int(rows.word("note", "html").sum()) == 4
        await pilot.press("f")
        await settle(pilot)
        assert dirty_app.main.data.view.NAME == "rows"
        assert "noted: html" in shown(dirty_app)


async def test_a_choice_goes_round_and_a_value_is_asked_for(dirty_app: FinetuiApp) -> None:
    async with opened(dirty_app) as pilot:
        view = await at_rule(pilot, dirty_app, "personal_data")
        await pilot.press("space", "space")
        await settle(pilot)
        assert dirty_app.main.config.draft.text(("clean", "personal_data")) == "drop"
        assert view.rows is not None
        assert (view.rows.reasons()[1] != 0).sum() == 1
        view.list.move_to(view._fields.index("min_answer_chars"))
        await pilot.press("enter")
        await pilot.pause()
        view.ask._input.value = "-5"
        await pilot.press("enter")
        await pilot.pause()
        assert "✗ min_answer_chars" in shown(dirty_app)
        view.ask._input.value = "10"
        await pilot.press("enter")
        await settle(pilot)
        assert dirty_app.main.config.draft.text(("clean", "min_answer_chars")) == "10"
        assert "too_short" in view.rows.reasons()[0]


async def test_personal_data_is_marked_in_its_row(dirty_app: FinetuiApp) -> None:
    async with opened(dirty_app) as pilot:
        await pilot.press("down", "enter")
        await settle(pilot)
        text = shown(dirty_app)
        assert "noted: email found" in text
        assert "anna.meier@posteo.de‹email›" in text


async def test_the_cursor_stays_in_sight_whatever_is_said_of_its_rule(
    dirty_app: FinetuiApp,
) -> None:
    async with opened(dirty_app) as pilot:
        view = await at_rule(pilot, dirty_app, "line_endings")
        for key in ("down", "up"):
            for _ in view._fields:
                await pilot.press(key)
                await pilot.pause()
                name = view._field.replace("_", " ")
                first, cursor = view.list.scroll_offset.y, view.list.cursor
                assert first <= cursor < first + view.list.page, name
                assert f"  {name} " in shown(dirty_app)
