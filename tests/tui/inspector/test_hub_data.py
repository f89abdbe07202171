"""A data set of a hub, whose rows are there when a sample of them was streamed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from idle import settle, shown
from textual.pilot import Pilot

from core.config.schema import RunConfig
from core.data.read.hub import dataset as datahub
from core.data.read.hub.dataset import HubName
from core.data.read.hub.sample import Sampling
from tui.app import FinetuiApp
from tui.widgets import data_pane

NARROW = (80, 24)


class Stream:
    """Stands in for a sample that is under way: says how far it is until it may end."""

    def __init__(self) -> None:
        self.asked: list[tuple[HubName, Sampling]] = []
        self.may_end = threading.Event()
        self.left = threading.Event()

    def fetch(self, name: HubName, say: Callable[[str], None], sampling: Sampling) -> list[Path]:
        self.asked.append((name, sampling))
        try:
            while not self.may_end.wait(0.02):
                say("owner/name: 7 of 40 rows streamed")
        finally:
            self.left.set()
        return [Path("general.jsonl").absolute()]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch, config: RunConfig) -> Stream:
    found = Stream()
    monkeypatch.setattr(datahub, "fetch", found.fetch)
    monkeypatch.setattr(data_pane, "_DRAWN_SECONDS", 0.1)
    config.data.files = ["owner/name"]
    config.data.hub_sample_rows = 40
    config.model.name_or_path = ""
    return found


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """Wait for something that a thread does."""
    for _ in range(500):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError("it never came")


async def test_the_pane_tells_of_a_sample_until_its_rows_are_there(
    stream: Stream, app: FinetuiApp
) -> None:
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("1")
        await until(pilot, lambda: "7 of 40 rows streamed" in shown(app))
        stream.may_end.set()
        await settle(pilot)
        assert "Question 1 about a refund" in shown(app)
        assert "rows streamed" not in shown(app)
    assert set(stream.asked) == {(HubName("owner/name"), Sampling(40, 42))}


async def test_other_data_ends_a_sample_that_is_under_way(
    stream: Stream, app: FinetuiApp, config: RunConfig
) -> None:
    async with app.run_test(size=NARROW) as pilot:
        await pilot.press("1")
        await until(pilot, lambda: "rows streamed" in shown(app))
        other = config.model_copy(deep=True)
        other.data.files = ["domain.jsonl"]
        app.main.data.look_at(other)
        await until(pilot, stream.left.is_set)
        await settle(pilot)
        assert "rows streamed" not in shown(app)
        assert "Is it" in shown(app)
    assert len(stream.asked) == 1


async def test_a_sample_ends_with_the_program(stream: Stream, app: FinetuiApp) -> None:
    async with app.run_test(size=NARROW) as pilot:
        await until(pilot, lambda: bool(stream.asked))
    assert stream.left.wait(5)
