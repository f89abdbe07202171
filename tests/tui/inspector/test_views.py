"""Problems, lengths and facts: what they say, and where their keys lead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from idle import settle, shown
from textual.containers import VerticalScroll
from using import opened, words

from tui.app import FinetuiApp
from tui.inspector.problems import Problems
from tui.screens.keys import help_page


async def test_arrows_walk_through_the_views_and_round(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        seen = [app.main.data.view.NAME]
        for _ in range(len(app.main.data._views)):
            await pilot.press("right")
            await pilot.pause()
            assert app.main.data.view.target().has_focus
            seen.append(app.main.data.view.NAME)
        assert seen[0] == seen[-1] == "rows"
        assert seen[1] == "problems"
        await pilot.press("left")
        await pilot.pause()
        assert seen[-2] == app.main.data.view.NAME


async def test_a_problem_leads_to_its_row(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("right")
        await pilot.pause()
        text = shown(app)
        assert "duplicate" in text
        assert "empty answer" in text
        assert "repeats row 1, general.jsonl:1" in text
        await pilot.press("enter", "down", "enter")
        await settle(pilot)
        assert app.main.data.view.NAME == "rows"
        assert app.main.data.table.list.cursor == 9


async def test_a_reason_becomes_a_filter(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("right", "down", "f")
        await settle(pilot)
        assert app.main.data.table.find.filter_line == "reason:empty_answer"
        assert words(app) == ["No answer here"]


async def test_the_next_problem_is_found_from_anywhere(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        places = []
        for _ in range(3):
            await pilot.press("exclamation_mark")
            await pilot.pause()
            places.append(app.main.data.table.list.cursor)
        assert places == [9, 11, 9]


async def test_lengths_show_the_cut_and_set_it(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("right", "right")
        await settle(pilot)
        text = shown(app)
        assert "✂ max_length 256" in text
        assert "max_length 256 cuts 1 of 11 rows (9.1%)" in text
        assert "lengths ✂ 1" in text
        await pilot.press("end", "enter")
        await settle(pilot)
        longest = app.main.data.view.bars[-1].high
        assert app.main.config.draft.text(("data", "max_length")) == str(longest)
        assert f"max_length {longest:,} cuts no row" in shown(app)


async def test_facts_account_for_every_row(app: FinetuiApp) -> None:
    async with opened(app, (120, 40)) as pilot:
        await pilot.press("z", "left")
        await settle(pilot)
        text = shown(app)
        assert "13 of 13" in text
        assert "11  (84.6%)" in text
        assert "alpaca 10, messages 1" in text
        assert "median" in text


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 48), (60, 16)])
async def test_every_view_fits_at_any_size(app: FinetuiApp, size: tuple[int, int]) -> None:
    async with opened(app, size) as pilot:
        for _ in app.main.data._views:
            await pilot.press("right")
            await pilot.pause()
            target = app.main.data.view.target()
            assert target.size.height >= 3
            assert target.size.width >= 20


@pytest.mark.parametrize("at", range(5))
async def test_no_view_of_earlier_data_stays_when_a_file_cannot_be_opened(
    app: FinetuiApp, at: int
) -> None:
    async with opened(app) as pilot:
        for _ in range(at):
            await pilot.press("right")
        await settle(pilot)
        app.set_setting(("data", "files"), "nothing.jsonl")
        await settle(pilot)
        text = shown(app)
        assert "there is no file nothing.jsonl" in text
        assert not [view.NAME for view in app.main.data._views if view.display]
        assert app.main.data.has_focus
        app.set_setting(("data", "files"), "general.jsonl")
        await settle(pilot)
        await settle(pilot)
        assert app.main.data.view.display
        assert app.main.data.view.target().has_focus


@pytest.mark.parametrize(
    ("keys", "heading"),
    [(["1"], "Data (1): rows"), (["1", "right"], "Data (1)"), (["2"], "Config (2)"),
     (["4"], "Log (4)"), (["5"], "Runs (5) and Deliver (6)")],
)  # fmt: skip
async def test_help_opens_at_the_pane_in_front(
    app: FinetuiApp, keys: list[str], heading: str
) -> None:
    async with opened(app) as pilot:
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        await pilot.press("question_mark")
        await settle(pilot)
        box = app.screen.query_one(VerticalScroll)
        lines = help_page(80).plain.split("\n")
        assert app.screen.query_one("Static").size.height == len(lines)  # none is wrapped
        seen = lines[box.scroll_offset.y : box.scroll_offset.y + box.size.height]
        at_end = box.scroll_offset.y == box.max_scroll_y
        assert heading in seen if at_end else heading == seen[0]


async def test_a_row_of_megabytes_is_shown_but_not_tokenized(
    app: FinetuiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.look.TOO_LONG", 1500)
    monkeypatch.setattr("tui.views.TOO_LONG", 1500)
    async with opened(app, (160, 48)) as pilot:
        rows = app.main.data.rows
        assert rows is not None
        asked: list[int] = []
        codec = rows.codec
        assert codec is not None
        encode = codec.encode
        monkeypatch.setattr(codec, "encode", lambda *given: asked.append(1) or encode(*given))
        rows.forget()
        await pilot.press("end")
        await settle(pilot)
        assert "This row has more than 1,500 characters" in shown(app)
        assert "word word" in shown(app)
        await pilot.press("v", "v")
        await settle(pilot)
        assert "This row has more than 1,500 characters: it is not" in shown(app)
        assert "too long to be shown in tokens" in shown(app)
        assert not asked
        assert rows.tokens(12), "the survey counted it"


async def test_only_the_first_tokens_are_shown_one_by_one(
    app: FinetuiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.views.SHOWN_TOKENS", 30)
    async with opened(app, (160, 48)) as pilot:
        await pilot.press("end", "v", "v")
        await settle(pilot)
        assert "226 more tokens" in shown(app)
        assert "cut off by max_length" in shown(app)


async def test_brackets_scroll_the_row_of_a_problem(app: FinetuiApp) -> None:
    rows = [{"instruction": "long", "output": "word\n" * 200}] * 2
    Path("twice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with opened(app) as pilot:
        app.set_setting(("data", "files"), "twice.jsonl")
        await settle(pilot)
        await settle(pilot)
        await pilot.press("right", "right_square_bracket")
        await pilot.pause()
        view = app.main.data.view
        assert isinstance(view, Problems)
        assert view.detail._text.scroll_offset.y > 0
        await pilot.press("left_square_bracket")
        await pilot.pause()
        assert view.detail._text.scroll_offset.y == 0


async def test_problems_follow_a_rule_that_is_switched_on(app: FinetuiApp) -> None:
    text = " ".join(f"word{n}" for n in range(200))
    rows = [{"instruction": f"{text} {n}", "output": text} for n in range(2)]
    Path("alike.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with opened(app) as pilot:
        app.set_setting(("data", "max_length"), "8192")
        app.set_setting(("data", "files"), "alike.jsonl")
        await settle(pilot)
        await settle(pilot)
        await pilot.press("right")
        await settle(pilot)
        assert "Nothing is wrong with these rows" in shown(app)
        app.set_setting(("clean", "near_duplicates"), "true")
        await settle(pilot)
        await settle(pilot)
        text = shown(app)
        assert "problems 1" in text
        assert "Nothing is wrong" not in text
        assert "near duplicate" in text


async def test_what_is_not_looked_at_yet_is_not_called_right(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        app.set_setting(("data", "files"), "domain.jsonl")
        await settle(pilot)
        await settle(pilot)
        rows = app.main.data.rows
        assert rows is not None
        rows.survey = None
        app.main.data.show_view(1)
        for _ in range(3):
            app.main.data.action_next_problem()
        await pilot.pause()
        assert "Not looked at yet." in shown(app)
        told = [n.message for n in app._notifications]
        assert told == ["one moment: 0 rows looked at so far, none rejected"]


async def test_a_raw_text_is_nowhere_said_to_be_cut(app: FinetuiApp) -> None:
    rows = [{"text": f"word {n} " * 100} for n in range(4)]
    Path("plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with opened(app) as pilot:
        app.set_setting(("data", "max_length"), "64")
        app.set_setting(("data", "files"), "plain.jsonl")
        await settle(pilot)
        await settle(pilot)
        assert app.main.data.rows is not None
        assert not app.main.data.rows.word("is", "cut").any()
        assert "✂" not in shown(app)
        await pilot.press("right", "right", "a")
        await settle(pilot)
        text = " ".join(shown(app).split())
        assert "A raw text is not cut" in text
        assert "✂" not in text
        assert "no length is proposed: a raw text" in [n.message for n in app._notifications][-1]
