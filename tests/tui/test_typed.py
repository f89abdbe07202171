"""Keys of a burst, which all are read before the first one has done anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from idle import settle
from textual import events
from textual.app import ComposeResult
from textual.widgets import Input

from tui import typed
from tui.app import FinetuiApp
from tui.typed import TypedApp

MakeApp = Callable[..., FinetuiApp]
BURST = ["enter", "backspace", "backspace", "6", "4", "enter"]


def key(name: str) -> events.Key:
    return events.Key(name, name if len(name) == 1 else None)


@pytest.mark.parametrize("apart", [0, 2, 8, 34])
@pytest.mark.parametrize("first", [1, 3, 5])
async def test_a_burst_in_the_form_reaches_the_line_that_it_opens(
    make_app: MakeApp, apart: int, first: int
) -> None:
    """Read in two pieces, the second ``apart`` turns of the loop behind the first."""
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("d", "2")
        await settle(pilot)
        form = app.main.config.form
        form.go_to(("adapter", "r"))
        await settle(pilot)
        for name in BURST[:first]:
            app.post_message(key(name))
        for _ in range(apart):
            await asyncio.sleep(0)
        for name in BURST[first:]:
            app.post_message(key(name))
        await settle(pilot)
        assert app.main.config.draft.texts()["adapter", "r"] == "64"
        assert app.focused is form.target()


class OneLine(TypedApp):
    def compose(self) -> ComposeResult:
        yield Input()


async def test_no_key_waits_for_one_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    app = OneLine()

    async def nowhere(*_: Any, **__: Any) -> None:
        """What follows a key never arrives."""

    monkeypatch.setattr(typed, "_LOST_SECONDS", 0.05)
    async with app.run_test() as pilot:
        monkeypatch.setattr(app, "_follow", nowhere)
        for name in ("a", "x", "backspace", "b", "c"):  # of which two wait for their turn
            app.post_message(key(name))
        await pilot.pause(0.4)
        assert app.query_one(Input).value == "abc"


async def test_letters_and_arrows_follow_each_other_freely(monkeypatch: pytest.MonkeyPatch) -> None:
    app = OneLine()
    async with app.run_test() as pilot:
        monkeypatch.setattr(app, "_release_late", lambda: pytest.fail("a key waits"))
        for name in "abcd":
            app.post_message(key(name))
        await pilot.pause()
        for name in ("left", "left", "home"):
            app.post_message(key(name))
        await pilot.pause()
        line = app.query_one(Input)
        assert (line.value, line.cursor_position) == ("abcd", 0)
