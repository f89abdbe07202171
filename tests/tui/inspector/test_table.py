"""The table of rows as a person uses it: scroll, filter, search, sort, choose, look closely."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from idle import settle, shown
from textual import events
from textual.geometry import Region
from textual.widget import Widget
from using import give, opened, words

from core.config.schema import RunConfig
from core.data.filter import Array
from tui import columns
from tui.app import FinetuiApp
from tui.inspector import find


async def test_it_shows_rows_and_what_they_come_to(app: FinetuiApp) -> None:
    async with opened(app):
        text = shown(app)
        assert "13 rows ─ 2 problems" in text
        assert "Question 1 about a refund" in text
        assert "rendered  raw  tokens" in text
        assert "tokens carry loss" in text


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("reason:duplicate", ["Question 1 about a refund"]),
        ("file:domain is:kept", ["Is it \x1b[31mred[/]?", "Tell me all"]),
        ("role:system", ["Is it \x1b[31mred[/]?"]),
        ("tokens>300", ["Tell me all"]),
        ("is:cut", ["Tell me all"]),
        (".topic:money is:kept turns:2 -/[135]/", ["Question 7 about a refund",
                                                   "Question 9 about a refund"]),
        ("user:refund /question (8|9)/", ["Question 8 about a refund",
                                          "Question 9 about a refund"]),
        ("nothing", []),
    ],
)  # fmt: skip
async def test_a_filter_leaves_the_rows_that_pass(
    app: FinetuiApp, line: str, left: list[str]
) -> None:
    async with opened(app) as pilot:
        await pilot.press("f")
        app.main.data.table.ask._input.value = line
        await pilot.press("enter")
        await settle(pilot)
        assert words(app) == left
        assert f"{len(left)} of 13 rows" in shown(app)
        await pilot.press("escape")
        await settle(pilot)
        assert len(words(app)) == 13


async def test_a_wrong_filter_is_said_and_stays_open(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("f")
        app.main.data.table.ask._input.value = "tokens>many"
        await pilot.press("enter")
        await pilot.pause()
        assert "many is not a number" in shown(app)
        assert app.main.data.table.ask.open
        await pilot.press("escape")
        await pilot.pause()
        assert not app.main.data.table.ask.open
        assert app.main.data.table.list.has_focus


async def test_a_reason_that_no_row_has_is_said_with_those_there_are(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await give(pilot, "f", "reason:typo")
        text = " ".join(shown(app).split())
        assert "no row is rejected for typo; there are: duplicate, empty_answer" in text
        assert app.main.data.table.ask.open
        assert len(words(app)) == 13


async def test_a_filter_that_was_given_before_all_was_known_says_why_it_leaves_nothing(
    app: FinetuiApp,
) -> None:
    async with opened(app) as pilot:
        app.main.data.table.filter("reason:typo")  # as it was given while rows came in
        await settle(pilot)
        text = " ".join(shown(app).split())
        assert "✗ no row is rejected for typo; there are: duplicate, empty_answer" in text
        assert not words(app)
        await pilot.press("escape")
        await settle(pilot)
        assert len(words(app)) == 13


async def test_a_row_of_many_megabytes_is_shown_by_its_beginning(
    make_app: Callable[..., FinetuiApp],
) -> None:
    rows = [{"instruction": "short", "output": "yes"},
            {"instruction": "long", "output": "word " * 1_000_000}]  # fmt: skip
    Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = make_app(config=RunConfig.model_validate({"data": {"files": ["long.jsonl"]}}))
    async with opened(app) as pilot:
        began = time.monotonic()
        await pilot.press("down")
        await settle(pilot)
        await pilot.press(*["right_square_bracket"] * 2)
        await pilot.pause()
        assert app.main.data.table.detail._text.scroll_offset.y > 0
        await pilot.press(*["left_square_bracket"] * 3)
        await pilot.pause()
        assert app.main.data.table.detail._text.scroll_offset.y == 0
        assert time.monotonic() - began < 10
        lines = app.main.data.table.detail._text._lines
        assert lines[-1][0][0].startswith("… 4,96")
        assert lines[-1][0][0].endswith("more characters")
        await pilot.press("e")
        await pilot.pause()
        assert app.screen is app.main
        assert "too many to be edited here" in [n.message for n in app._notifications][-1]


async def test_other_data_is_shown_from_its_first_row(app: FinetuiApp) -> None:
    rows = [{"instruction": f"Row {n}", "output": "yes"} for n in range(100)]
    Path("many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    async with opened(app) as pilot:
        for name in ("many.jsonl", "general.jsonl", "many.jsonl"):
            app.set_setting(("data", "files"), name)
            await settle(pilot)
            await settle(pilot)
            table = app.main.data.table
            assert (table.list.cursor, table.list.scroll_offset.y) == (0, 0)
            await pilot.press("end")
            await pilot.pause()


async def test_n_begins_a_new_run_where_nothing_is_searched(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("n")
        await pilot.pause()
        assert "this is a new run already" in [n.message for n in app._notifications][-1]


async def test_while_a_line_is_typed_only_its_keys_are_named(app: FinetuiApp) -> None:
    async with opened(app, (120, 40)) as pilot:
        await pilot.press("f")
        await pilot.pause()
        last = shown(app).splitlines()[-1]
        assert "enter done  tab complete" in last
        assert "esc leave it" in last
        assert "drop" not in last
        await pilot.press("escape", "g")
        await pilot.pause()
        assert "enter done  esc leave it" in shown(app).splitlines()[-1]
        await pilot.press("escape")
        await pilot.pause()
        assert "del drop" in shown(app).splitlines()[-1]


def test_a_wide_number_is_not_cut_into_another_one() -> None:
    assert columns._fitted("999,999", 7) == "999,999"
    assert columns._fitted("3,000,015", 7) == "3000015"
    assert columns._fitted("16,777,216", 7) == "16.8M"


async def test_the_last_word_is_completed(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("f", "r", "e")
        await pilot.pause()
        assert "why it is rejected" in shown(app)
        await pilot.press("tab")
        await pilot.pause()
        assert "duplicate" in shown(app)
        await pilot.press("down", "down", "enter", "enter")
        await settle(pilot)
        assert app.main.data.table.find.filter_line == "reason:duplicate"
        assert words(app) == ["Question 1 about a refund"]


async def test_a_search_goes_from_match_to_match_and_round(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        table = app.main.data.table
        await pilot.press("down")
        await give(pilot, "slash", "answer 3")
        assert table.list.cursor == 2
        assert "1 of 1" in shown(app)
        await pilot.press("escape")
        await give(pilot, "slash", "refund")
        places = [table.list.cursor]
        for key in ("n", "n", "N"):
            await pilot.press(key)
            places.append(table.list.cursor)
        assert places == [2, 3, 4, 3]
        await pilot.press("end", "n")
        assert table.list.cursor == 0
        await give(pilot, "slash", "nowhere")
        assert "not found" in shown(app)


async def test_a_search_goes_through_the_filtered_rows_only(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        table = app.main.data.table
        await give(pilot, "f", ".topic:money")
        await give(pilot, "slash", "refund")
        assert len(table.find.matches) == 6
        assert table.find.matches == list(range(6))


async def test_sorting_by_a_column_and_back(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        table = app.main.data.table
        await pilot.press("c", "down", "down", "enter")
        await settle(pilot)
        assert words(app)[0] == "Tell me all"
        assert "tokens↓" in shown(app)
        await pilot.press("c", "down", "down", "enter")
        await settle(pilot)
        # What has no tokens comes last, whichever way.
        assert words(app)[-2:] == ["Tell me all", "No answer here"]
        await pilot.press("escape")
        await settle(pilot)
        assert table.find.order is None
        await pilot.press("c", "down", "down", "down", "enter")
        await settle(pilot)
        assert words(app)[0] == "Is it \x1b[31mred[/]?"


async def test_columns_of_fields_are_shown(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("c", "end", "space", "escape")
        await pilot.pause()
        text = shown(app)
        assert "topic" in text
        assert "money" in text


async def test_going_to_a_row_by_number_and_by_place(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        table = app.main.data.table
        await give(pilot, "g", "13")
        assert table.list.cursor == 12
        await give(pilot, "g", "general.jsonl:4")
        assert table.list.cursor == 3
        await give(pilot, "g", "domain:2")
        assert table.list.cursor == 11
        await give(pilot, "g", "99")
        assert "there are rows 1 to 13" in shown(app)


async def test_the_row_in_three_views_and_with_ids(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("v")
        await pilot.pause()
        assert '"instruction": "Question 1' in shown(app)
        await pilot.press("v")
        await pilot.pause()
        tokens = shown(app)
        assert "│" in tokens
        await pilot.press("i")
        await pilot.pause()
        assert "tokens + ids" in shown(app)
        assert app.main.data.table.detail.look is not None
        encoded = app.main.data.table.detail.look.encoded
        assert encoded is not None
        assert f"{encoded.ids[0]}:" in shown(app)


async def test_enter_gives_the_row_the_room(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        table = app.main.data.table
        before = table.detail.size.height
        await pilot.press("enter")
        await settle(pilot)
        assert table.detail.size.height > before
        await pilot.press("enter")
        await settle(pilot)
        assert table.detail.size.height == before


async def test_hostile_text_is_inert_in_every_place(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await give(pilot, "g", "11")
        await pilot.press("c", "end", "space", "escape")
        for _ in range(3):
            text = shown(app)
            assert "\x1b" not in text
            assert "␛[31mred[/]" in text or "\\u001b[31mred" in text
            await pilot.press("v")
            await pilot.pause()


async def test_a_long_filter_shows_what_it_has_found_and_can_be_ended(
    app: FinetuiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def select(*_: object) -> Iterator[tuple[Array, float]]:
        yield np.array([1]), 0.25
        time.sleep(find._SHOWN_SECONDS)
        yield np.array([3, 5]), 0.5
        reached.set()
        go_on.wait(20)
        _[2](0.5)  # type: ignore[operator]
        yield np.array([7]), 1.0

    monkeypatch.setattr("tui.scan.select", select)
    async with opened(app) as pilot:
        table = app.main.data.table
        table.filter("/Question/")
        while not reached.is_set():
            await pilot.pause(0.02)
        await pilot.pause()
        assert "filter /Question/  ·  filtering 50%, 3 so far, esc ends it" in shown(app)
        assert table.list.count == 3
        await pilot.press("down", "escape")
        go_on.set()
        await settle(pilot)
        assert table.list.count == 3
        assert "3 of 13 rows, ended at 50%" in shown(app)
        assert table.number == 3
        go_on.clear()
        table.filter("/Question/")
        await pilot.pause(0.5)
        await pilot.press("down")
        go_on.set()
        await settle(pilot)
        assert table.list.count == 4
        assert table.number == 3  # where the cursor was put meanwhile
        assert "ended" not in shown(app)
        await pilot.press("escape")
        await settle(pilot)
        assert table.list.count == 13


@pytest.mark.parametrize(("key", "told"), [("f", "filter refund"), ("/", "search refund")])
async def test_keys_in_one_burst_reach_the_line_that_the_first_opens(
    app: FinetuiApp, key: str, told: str
) -> None:
    async with opened(app) as pilot:
        table = app.main.data.table
        for letter in (key, *"refund"):
            app.post_message(events.Key("slash" if letter == "/" else letter, letter))
        app.post_message(events.Key("enter", "\r"))
        await pilot.pause()
        await settle(pilot)
        assert not table.ask.open
        assert told in shown(app)
        assert table.find.count == (9 + 1 if key == "f" else 13)
        assert table.list.cursor == 0
        assert table.list.has_focus


async def test_a_key_that_moves_the_cursor_lays_nothing_out(
    app: FinetuiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layout of the screen would cost more than all that such a key has to do."""
    async with opened(app, (120, 40)) as pilot:
        laid_out: list[Widget] = []
        refresh = Widget.refresh

        def note(self: Widget, *regions: Region, layout: bool = False, **given: bool) -> Widget:
            if layout:
                laid_out.append(self)
            return refresh(self, *regions, layout=layout, **given)

        monkeypatch.setattr(Widget, "refresh", note)
        for key in ("down", "down", "up"):
            await pilot.press(key)
            await pilot.pause()
        app.main.data.redraw()
        await pilot.pause()
        assert laid_out == []
        assert "general.jsonl:2" in shown(app)
