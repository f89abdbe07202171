"""How it looks: pictures of the screen at three sizes, from the recorded run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from idle import TRAINING, settle
from textual.pilot import Pilot

from core.record.folder import RunFolder
from tui.app import FinetuiApp
from tui.bindings import PANE_NAMES

MakeApp = Callable[..., FinetuiApp]
MakeRun = Callable[..., RunFolder]
Compare = Callable[..., bool]

SIZES = [(80, 24), (120, 40), (160, 48)]


@pytest.mark.parametrize("size", SIZES)
def test_first_start(snap_compare: Compare, make_app: MakeApp, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(), terminal_size=size, run_before=settle)


@pytest.mark.parametrize("size", SIZES)
def test_training(
    snap_compare: Compare, make_app: MakeApp, make_run: MakeRun, size: tuple[int, int]
) -> None:
    app = make_app(make_run(TRAINING))
    assert snap_compare(app, terminal_size=size, run_before=settle)


@pytest.mark.parametrize("pane", ["data", "config", "log", "runs", "deliver", "keys", "quit"])
def test_one_at_a_time(
    snap_compare: Compare, make_app: MakeApp, make_run: MakeRun, pane: str
) -> None:
    async def press(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await pilot.press({"keys": "question_mark", "quit": "q"}.get(pane) or _number(pane))
        await settle(pilot)

    app = make_app(make_run("" if pane == "deliver" else TRAINING))
    assert snap_compare(app, terminal_size=(80, 24), run_before=press)


def _number(pane: str) -> str:
    return str(PANE_NAMES.index(pane) + 1)
