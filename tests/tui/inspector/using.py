"""What the tests of the inspector share: opening it, and typing lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from idle import settle
from textual.pilot import Pilot

from tui.app import FinetuiApp

_KEYS = {" ": "space", ":": "colon", ">": "greater_than_sign", "/": "slash", "-": "minus",
         ".": "full_stop"}  # fmt: skip


@asynccontextmanager
async def opened(app: FinetuiApp, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    """The app with its data pane in front and everything looked at."""
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await settle(pilot)
        await pilot.press("1")
        await pilot.pause()
        yield pilot


async def give(pilot: Pilot[None], key: str, line: str) -> None:
    """Type a line after a key, and wait for what it finds."""
    await pilot.press(key)
    await pilot.press(*(_KEYS.get(letter, letter) for letter in line), "enter")
    await settle(pilot)


def words(app: FinetuiApp) -> list[str]:
    """The texts of all rows in the table, in their order."""
    table = app.main.data.table
    assert table.rows is not None
    numbers = [table.find.number(place) for place in range(table.list.count)]
    return [table.rows.glance(number).words for number in numbers]
