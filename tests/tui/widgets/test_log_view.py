from __future__ import annotations

import time

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Input, Static

from tui.widgets.log_body import LogBody
from tui.widgets.log_buffer import LogBuffer
from tui.widgets.log_view import LogLine, LogView

NOON = time.mktime((2026, 3, 4, 12, 0, 0, 0, 0, -1))


def lines(first: int, last: int, level: str = "info") -> list[LogLine]:
    return [LogLine(NOON + n, level, f"step {n} loss 1.{n:04}") for n in range(first, last)]


class LogApp(App[None]):
    def __init__(self, capacity: int = 100_000) -> None:
        super().__init__()
        self.capacity = capacity
        self.captions: list[str] = []

    def compose(self) -> ComposeResult:
        yield LogView(capacity=self.capacity)

    def on_mount(self) -> None:
        self.log_view.focus()

    def on_log_view_caption_changed(self, message: LogView.CaptionChanged) -> None:
        self.captions.append(message.caption)

    @property
    def log_view(self) -> LogView:
        return self.query_one(LogView)

    @property
    def body(self) -> LogBody:
        return self.query_one(LogBody)

    @property
    def status(self) -> str:
        status = self.query_one(Static)
        return str(status.content) if status.has_class("-shown") else ""


def rows(body: LogBody) -> list[str]:
    """The rows in view; every strip must be as wide as the widget."""
    strips = [body.render_line(y) for y in range(body.size.height)]
    assert {strip.cell_length for strip in strips} == {body.size.width}
    assert all(
        strip.cell_length == sum(segment.cell_length for segment in strip) for strip in strips
    )
    return [strip.text.rstrip() for strip in strips]


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (20, 5), (3, 2)])
@pytest.mark.parametrize("wrap", [False, True])
async def test_wide_and_hostile_lines_fit_every_size(size: tuple[int, int], wrap: bool) -> None:
    app = LogApp()
    async with app.run_test(size=size) as pilot:
        app.log_view.extend(
            [
                LogLine(NOON, "info", "한국어 日本語 中文 " * 20),
                LogLine(NOON, "error", "👍🏽 👩‍💻 ❤️ 🇩🇪 e\u0301 " * 20),
                LogLine(NOON, "warning", "\x1b]52;c;aGk=\x07 \u202eevil [b]markup[/b] \ud800" * 5),
                LogLine(NOON, "debug", ""),
            ]
        )
        if wrap:
            await pilot.press("w")
        await pilot.press("slash", "o", "enter", "home")
        for _ in range(6):
            shown = "".join(rows(app.body))
            assert not any(ord(c) < 32 or c in "\x7f\u202e\u200d" for c in shown)
            await pilot.press("right", "down")


async def test_the_end_is_followed() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 100))
        await pilot.pause()
        shown = rows(app.body)
        assert shown[-1] == "12:01:39   step 99 loss 1.0099"
        assert len(shown) == 10
        assert app.status == ""
        app.log_view.extend(lines(100, 105))
        await pilot.pause()
        assert rows(app.body)[-1].endswith("step 104 loss 1.0104")
        assert app.log_view.caption == "following"


async def test_scrolling_up_pauses_and_end_follows_again() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 100))
        await pilot.press("up", "up")
        await pilot.pause()
        assert not app.log_view.follow
        before = rows(app.body)[0]
        app.log_view.extend(lines(100, 137))
        await pilot.pause()
        assert rows(app.body)[0] == before
        assert app.status.startswith("▼ 37 new")
        assert app.captions[-1] == "paused"
        await pilot.press("end")
        assert app.log_view.follow
        assert rows(app.body)[-1].endswith("step 136 loss 1.0136")
        await pilot.press("pageup")
        await pilot.pause()
        assert not app.log_view.follow
        await pilot.press("f")
        assert app.log_view.follow
        assert app.log_view.unseen == 0
        await pilot.pause()
        assert app.status == ""


async def test_scrolling_down_to_the_end_follows_again() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 100))
        await pilot.press("up")
        await pilot.pause()
        assert not app.log_view.follow
        await pilot.press("down", "down", "down")
        await pilot.pause()
        assert app.log_view.follow


async def test_a_paused_view_stands_still_while_old_lines_leave() -> None:
    app = LogApp(capacity=50)
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 50))
        await pilot.press("up", "up", "up")
        await pilot.pause()
        before = rows(app.body)[0]
        app.log_view.extend(lines(50, 60))
        await pilot.pause()
        assert rows(app.body)[0] == before
        assert not app.log_view.follow
        assert "10 older lines left the buffer" in app.status


async def test_search_finds_while_typing_and_goes_on() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 300))
        await pilot.press("slash", *"step 12")
        search = app.query_one(Input)
        assert search.has_class("-shown")
        assert app.log_view.buffer.matches == [12, *range(120, 130)]
        await pilot.press("enter")
        assert not search.has_class("-shown")
        assert app.focused is app.body
        assert any("step 12 " in row for row in rows(app.body))
        assert "/step 12: 1 of 11" in app.status
        await pilot.press("n")
        assert any("step 120 " in row for row in rows(app.body))
        await pilot.press("N", "N")
        assert "/step 12: 11 of 11" in app.status
        marked = app.body.get_component_rich_style("log--current")
        strips = [app.body.render_line(y) for y in range(app.body.size.height)]
        found = [s.text for strip in strips for s in strip if s.style.bgcolor == marked.bgcolor]
        assert found == ["step 12"]
        await pilot.press("escape")
        assert app.log_view.buffer.needle == ""
        assert "/" not in app.status


async def test_letters_typed_into_the_search_are_not_keys() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 30))
        await pilot.press("slash", "w", "v", "f", "n")
        assert app.query_one(Input).value == "wvfn"
        assert not app.log_view.wrapped
        assert app.log_view.level == "all"
        await pilot.pause()
        assert "/wvfn: not found" in app.status
        await pilot.press("escape")
        assert app.focused is app.body


async def test_levels_go_round_and_keep_the_place() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 40))
        app.log_view.extend(lines(40, 43, "error"))
        app.log_view.extend(lines(43, 60, "debug"))
        await pilot.press("v")
        assert app.log_view.buffer.shown == 43
        await pilot.press("v", "v")
        assert app.log_view.caption == "following · error"
        await pilot.pause()
        assert "3 of 60 lines" in app.status
        assert [row for row in rows(app.body) if row] == [
            "12:00:40 E step 40 loss 1.0040",
            "12:00:41 E step 41 loss 1.0041",
            "12:00:42 E step 42 loss 1.0042",
        ]
        app.log_view.extend(lines(60, 70))
        assert app.log_view.buffer.shown == 3
        await pilot.press("v")
        assert app.log_view.level == "all"
        assert rows(app.body)[-1].endswith("step 69 loss 1.0069")


async def test_wrap_shows_the_whole_line() -> None:
    app = LogApp()
    async with app.run_test(size=(30, 10)) as pilot:
        app.log_view.extend([LogLine(NOON, "info", "abcdefghij" * 8)])
        assert len([row for row in rows(app.body) if row]) == 1
        await pilot.press("w")
        await pilot.pause()
        shown = [row for row in rows(app.body) if row]
        assert "".join(row.strip() for row in shown) == "abcdefghij" * 8
        assert app.log_view.caption == "following · wrapped"
        await pilot.resize_terminal(50, 10)
        await pilot.pause()
        assert len([row for row in rows(app.body) if row]) == 3


@pytest.mark.parametrize(
    "text", ["abcdefghij" * 30, "a step · of many words, again and again " * 8, "한국어 " * 60]
)
async def test_no_character_of_a_wrapped_line_is_under_the_scrollbar(text: str) -> None:
    app = LogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        app.log_view.extend([LogLine(NOON, "info", text)] * 40)
        await pilot.press("home")
        await pilot.pause()
        assert app.body.max_scroll_y > 0
        bare = app.body.scrollable_content_region.width
        assert bare == 79
        shown = [strip.crop(0, bare).text for strip in map(app.body.render_line, range(24))]
        first, *more = (n for n, row in enumerate(shown) if row.startswith("12:00:00"))
        whole = "".join(row[11:].rstrip() for row in shown[first : more[0]])
        assert whole.replace(" ", "") == text.replace(" ", "")


def test_wrapped_lines_break_at_spaces() -> None:
    buffer = LogBuffer()
    buffer.wrap(12)
    buffer.extend([LogLine(NOON, "info", "saved the checkpoint as /a/very/long/path · now")])
    shown = [buffer.row(y).text for y in range(buffer.rows)]
    assert shown == ["saved the ", "checkpoint ", "as /a/very/l", "ong/path · ", "now"]


async def test_long_lines_scroll_sideways_behind_the_clock() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend([LogLine(NOON, "info", "0123456789" * 10)])
        await pilot.pause()
        await pilot.press("right", "right", "right")
        row = rows(app.body)[0]
        assert row.startswith("12:00:00   ")
        assert not row[11:].startswith("012")


@pytest.mark.parametrize("wrap", [False, True])
async def test_text_is_selected_without_the_clock(wrap: bool) -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.wrapped = wrap
        app.log_view.extend(
            [LogLine(NOON, "info", "first " + "x" * 70), LogLine(NOON, "info", "second")]
        )
        await pilot.pause()
        await pilot.mouse_down(app.body, offset=(11 + 6, 0))
        await pilot.hover(app.body, offset=(11 + 3, 2 if wrap else 1))
        await pilot.mouse_up(app.body, offset=(11 + 3, 2 if wrap else 1))
        await pilot.pause()
        selected = app.screen.get_selected_text()
        assert selected is not None
        assert selected.startswith("x" * 70 + "\nsec")
        assert "12:00" not in selected
        background = app.screen.get_component_rich_style("screen--selection").bgcolor
        first = app.body.render_line(0)
        assert any(segment.style.bgcolor == background for segment in first if segment.style)
        assert len(rows(app.body)) == 10


async def test_it_repaints_only_when_the_view_changes() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 100))
        await pilot.press("home")
        await pilot.pause()
        assert not app.log_view.follow
        await pilot.press("v")
        await pilot.pause()
        drawn: list[int] = []
        render = app.body.render_line
        app.body.render_line = lambda y: (drawn.append(y), render(y))[1]  # type: ignore[method-assign]
        app.log_view.extend([])
        app.log_view.extend(lines(100, 120, "debug"))
        await pilot.pause()
        assert drawn == []
        app.log_view.extend(lines(120, 121))
        await pilot.pause()
        assert len(drawn) <= app.body.size.height


async def test_clear_starts_over() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.log_view.extend(lines(0, 100))
        await pilot.press("home")
        app.log_view.clear()
        await pilot.pause()
        assert [row for row in rows(app.body) if row] == []
        app.log_view.extend(lines(7, 8))
        await pilot.pause()
        assert rows(app.body)[0].endswith("step 7 loss 1.0007")


def test_every_key_can_be_remapped() -> None:
    ids = [binding.id for binding in LogView.BINDINGS]  # type: ignore[union-attr]
    assert None not in ids
    assert len(ids) == len(set(ids))
