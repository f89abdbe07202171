"""Problems, lengths and facts: what they say, and where their keys lead."""

from __future__ import annotations

import pytest
from idle import settle, shown
from using import opened, words

from tui.app import FinetuiApp


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
