"""Decisions are found again with their data, go on in one file, and hit no row but theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from idle import settle, shown
from textual.pilot import Pilot
from textual.widgets import TextArea
from using import give, opened

from core.config.schema import RunConfig
from core.data.overlay import Overlay
from core.data.read.sources import read_rows
from core.record.folder import RunFolder
from tui.app import FinetuiApp
from tui.rows import Rows
from tui.screens.ask import Ask
from tui.screens.edit import EditScreen

MakeApp = Callable[..., FinetuiApp]


def said(app: FinetuiApp) -> str:
    """All that was said so far."""
    return "\n".join(note.message for note in app._notifications)


def rows_of(app: FinetuiApp) -> Rows:
    rows = app.main.data.rows
    assert rows is not None
    return rows


def named(app: FinetuiApp) -> str:
    return app.main.config.draft.text(("data", "overlay"))


async def quit_with(pilot: Pilot[None]) -> str:
    """The screen after the key that quits."""
    await pilot.press("q")
    await pilot.pause()
    return shown(pilot.app)


async def test_decisions_are_found_again_and_go_on_in_the_same_file(
    make_app: MakeApp, config: RunConfig
) -> None:
    first = make_app(config=config.model_copy(deep=True))
    async with opened(first) as pilot:
        await pilot.press("delete")
        await settle(pilot)
        assert "1 decision about rows is kept in general.overlay" in await quit_with(pilot)
        assert isinstance(first.screen, Ask)

    second = make_app(config=config)  # its settings name no overlay
    async with opened(second) as pilot:
        assert "taken from general.overlay: 1 row dropped by hand" in said(second)
        assert rows_of(second).reason(0) == "dropped_by_hand"
        assert named(second) == "general.overlay"
        await pilot.press("down", "delete")
        await settle(pilot)
        assert Overlay("general.overlay").dropped == 2
        assert [path.name for path in Path.cwd().glob("*.overlay")] == ["general.overlay"]
        assert "2 decisions about rows are kept in general.overlay" in await quit_with(pilot)


@pytest.mark.parametrize("first", [b'{"finetui_over\n', b"\x00\xff garbage\n"])
async def test_a_damaged_overlay_beside_the_data_is_told(
    make_app: MakeApp, config: RunConfig, first: bytes
) -> None:
    path = Path("general.overlay")
    Overlay(path).drop(next(read_rows(["general.jsonl"])))
    path.write_bytes(first + path.read_bytes().partition(b"\n")[2])
    app = make_app(config=config)
    async with opened(app):
        told = [n.message for n in app._notifications if "general.overlay" in n.message]
        assert len(told) == 1
        assert "is no overlay of finetui" in told[0]
        assert "what it decides about this data is not taken" in told[0]


async def test_a_last_line_that_breaks_off_is_told(make_app: MakeApp, config: RunConfig) -> None:
    path = Path("general.overlay")
    rows = list(read_rows(["general.jsonl"]))
    Overlay(path).drop(*rows[:2])
    path.write_bytes(path.read_bytes()[:-20])
    app = make_app(config=config)
    async with opened(app):
        assert "taken from general.overlay: 1 row dropped by hand" in said(app)
        assert "the last line of general.overlay breaks off" in said(app)


async def test_what_is_found_again_is_nothing_to_ask_about(
    make_app: MakeApp, config: RunConfig
) -> None:
    Overlay("general.overlay").drop(next(read_rows(["general.jsonl"])))
    app = make_app(config=config)
    async with opened(app) as pilot:
        assert named(app) == "general.overlay"
        await pilot.press("q")
        await pilot.pause()
        assert not isinstance(app.screen, Ask)


async def test_an_overlay_that_was_taken_away_by_hand_stays_away(
    make_app: MakeApp, config: RunConfig
) -> None:
    Overlay("general.overlay").drop(next(read_rows(["general.jsonl"])))
    app = make_app(config=config)
    async with opened(app) as pilot:
        app.set_setting(("data", "overlay"), "")
        await settle(pilot)
        await settle(pilot)
        assert rows_of(app).reason(0) == ""
        assert named(app) == ""
        await pilot.press("down", "delete")
        await settle(pilot)
        assert named(app) == "general-2.overlay"
        assert "general.overlay stays as it is" in said(app)
        assert Overlay("general.overlay").dropped == 1


async def test_other_data_has_another_overlay(make_app: MakeApp, config: RunConfig) -> None:
    config.data.files = ["general.jsonl"]
    Overlay("domain.overlay").drop(next(read_rows(["domain.jsonl"])))
    app = make_app(config=config)
    async with opened(app) as pilot:
        await pilot.press("delete")
        await settle(pilot)
        assert named(app) == "general.overlay"
        app.set_setting(("data", "files"), "domain.jsonl")
        await settle(pilot)
        await settle(pilot)
        assert "general.overlay is left as it is: it was made for other data" in said(app)
        assert named(app) == "domain.overlay"
        assert rows_of(app).count == 3
        assert rows_of(app).reason(0) == "dropped_by_hand"
        app.set_setting(("data", "files"), "general.jsonl")
        await settle(pilot)
        await settle(pilot)
        assert named(app) == "general.overlay"
        assert Overlay("general.overlay").dropped == 1


async def test_of_several_the_last_one_is_taken_and_the_others_are_named(
    make_app: MakeApp, config: RunConfig
) -> None:
    one, two, *_ = read_rows(["general.jsonl"])
    Overlay("a.overlay").drop(one)
    Overlay("b.overlay").drop(one, two)
    os.utime("a.overlay", (1, 1))
    app = make_app(config=config)
    async with opened(app):
        assert named(app) == "b.overlay"
        assert "not taken: a.overlay has 1 row dropped by hand, too" in said(app)


async def test_an_overlay_of_other_contents_is_taken_and_told(
    make_app: MakeApp, config: RunConfig
) -> None:
    one, two, *_ = read_rows(["general.jsonl"])
    Overlay("general.overlay").drop(one, two)
    lines = Path("general.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("general.jsonl").write_text("".join([lines[0], *lines[2:]]), encoding="utf-8")
    app = make_app(config=config)
    async with opened(app):
        assert "1 of 2 decisions in general.overlay fits no row any more" in said(app)
        assert rows_of(app).reason(0) == "dropped_by_hand"


async def test_a_named_overlay_that_is_not_there_is_told(
    make_app: MakeApp, config: RunConfig
) -> None:
    config.data.overlay = "gone.overlay"
    app = make_app(config=config)
    async with opened(app):
        assert "data.overlay names gone.overlay, which is not there" in said(app)


async def test_a_run_without_decisions_stays_so_until_a_new_one_begins(
    make_app: MakeApp, make_run: Callable[..., RunFolder], data_file: Path
) -> None:
    Overlay("rows.overlay").drop(next(read_rows([data_file])))
    app = make_app(make_run('"type": "JobFinished"'))
    async with opened(app) as pilot:
        assert rows_of(app).reason(0) == ""
        assert said(app) == ""
        await pilot.press("n")
        await settle(pilot)
        await settle(pilot)
        assert named(app) == "rows.overlay"
        assert rows_of(app).reason(0) == "dropped_by_hand"


async def test_nothing_to_undo_makes_no_overlay(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("u")
        await settle(pilot)
        assert "nothing to undo" in said(app)
        assert named(app) == ""
        assert rows_of(app).overlay.path is None


async def test_a_folder_that_cannot_be_written_to_is_said_and_no_overlay_is_named(
    app: FinetuiApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    async with opened(app) as pilot:
        with monkeypatch.context() as patch:
            patch.setattr("core.data.overlay.os.open", refuse)
            await pilot.press("delete")
            await pilot.pause()
        assert "Permission denied; nothing was decided" in said(app)
        assert "→ set data.overlay to a file in a folder that can be written to" in said(app)
        assert rows_of(app).reason(0) == ""
        assert named(app) == ""
        await pilot.press("delete")  # and it works again
        await settle(pilot)
        assert Path(named(app)).name == "general.overlay"


# -- files that change under the screen -----------------------------------------------------


def put_before(path: str, row: dict[str, str]) -> None:
    """Another first row: all others move down."""
    file = Path(path)
    file.write_text(json.dumps(row) + "\n" + file.read_text(encoding="utf-8"), encoding="utf-8")


async def test_a_changed_file_takes_no_decision_until_it_is_read_again(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await pilot.press("down", "delete")
        await settle(pilot)
        before = Path("general.overlay").read_bytes()
        put_before("general.jsonl", {"instruction": "New", "output": "row"})
        for keys in (["down", "delete"], ["e"], ["w", "enter"]):
            app._notifications.clear()
            await pilot.press(*keys)
            await settle(pilot)
            assert "general.jsonl was changed since it was opened" in said(app), keys
            assert "→ r reads the data again" in said(app)
            assert app.screen is app.main
        assert Path("general.overlay").read_bytes() == before
        assert not Path("general.clean.jsonl").exists()
        await pilot.press("r")
        await settle(pilot)
        await settle(pilot)
        rows = rows_of(app)
        assert rows.count == 14
        assert rows.glance(0).words == "New"
        assert named(app) == "general.overlay"
        assert "1 of 1 decision in general.overlay fits no row any more" in said(app)
        await pilot.press("delete")
        await settle(pilot)
        assert rows.reason(0) == "dropped_by_hand"


async def test_a_row_of_a_changed_file_is_not_shown_until_it_is_read_again(
    app: FinetuiApp,
) -> None:
    async with opened(app, (160, 48)) as pilot:
        put_before("general.jsonl", {"instruction": "New", "output": "row"})
        await pilot.press("down")
        await settle(pilot)
        detail = app.main.data.table.detail
        assert detail.look is None
        assert "general.jsonl was changed since it was opened here" in shown(app)
        await pilot.press("r")
        await settle(pilot)
        await settle(pilot)
        assert "was changed since it was opened here" not in shown(app)
        assert detail.look is not None


async def test_all_filtered_rows_of_a_changed_file_stay(app: FinetuiApp) -> None:
    async with opened(app) as pilot:
        await give(pilot, "f", ".topic:money")
        await pilot.press("D")
        await pilot.pause()
        put_before("general.jsonl", {"instruction": "New", "output": "row"})
        await pilot.press("d")
        await settle(pilot)
        assert "was changed since it was opened" in said(app)
        assert not Path("general.overlay").exists()
        assert named(app) == ""


async def test_what_is_typed_while_the_file_changes_is_kept_for_the_row_as_it_was(
    app: FinetuiApp,
) -> None:
    async with opened(app) as pilot:
        await pilot.press("e")
        await pilot.pause()
        assert isinstance(app.screen, EditScreen)
        app.screen.query_one(TextArea).text = "A better question"
        text = Path("general.jsonl").read_text(encoding="utf-8")
        Path("general.jsonl").write_text(text + text, encoding="utf-8")
        await pilot.press("f2")
        await settle(pilot)
        assert "kept, for the row as it was" in said(app)
        assert Overlay("general.overlay").edited == 1
        await pilot.press("r")
        await settle(pilot)
        await settle(pilot)
        assert rows_of(app).glance(0).words == "A better question"
