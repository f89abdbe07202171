"""How the inspector looks: every view in a small terminal, in its quarter, and zoomed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from idle import settle
from textual.pilot import Pilot

from core.config.schema import RunConfig
from tui.app import FinetuiApp

Compare = Callable[..., bool]
MakeApp = Callable[..., FinetuiApp]

VIEWS = ("rows", "problems", "lengths", "rules", "facts")


def walk(*keys: str, at: int) -> Callable[[Pilot[None]], object]:
    """Opens the data pane, presses keys, and goes to a view."""

    async def press(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await settle(pilot)
        await pilot.press("1", *keys)
        for _ in range(at):
            await pilot.press("right")
        await settle(pilot)
        await settle(pilot)

    return press


@pytest.mark.parametrize("view", VIEWS)
def test_small(snap_compare: Compare, app: FinetuiApp, view: str) -> None:
    press = walk(at=VIEWS.index(view))
    assert snap_compare(app, terminal_size=(80, 24), run_before=press)


@pytest.mark.parametrize("view", VIEWS)
def test_zoomed(snap_compare: Compare, app: FinetuiApp, view: str) -> None:
    press = walk("z", at=VIEWS.index(view))
    assert snap_compare(app, terminal_size=(160, 48), run_before=press)


@pytest.mark.parametrize("view", ["rows", "lengths"])
def test_quarter(
    snap_compare: Compare, make_app: MakeApp, data_files: list[str], view: str
) -> None:
    app = make_app(config=RunConfig.model_validate({"data": {"files": data_files}}))
    press = walk(at=VIEWS.index(view))
    assert snap_compare(app, terminal_size=(120, 40), run_before=press)


@pytest.mark.parametrize("what", ["filter", "columns", "edit", "dropped"])
def test_at_work(snap_compare: Compare, app: FinetuiApp, what: str) -> None:
    keys = {"filter": ("f", "r"), "columns": ("c",), "edit": ("e",), "dropped": ("down", "delete")}
    press = walk(*keys[what], at=0)
    assert snap_compare(app, terminal_size=(80, 24), run_before=press)
