"""Wrapping text of any origin."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from tui.widgets.text_block import SHOWN_CHARACTERS, TextBlock, wrap


def texts(lines: list[list[tuple[str, str]]]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def test_breaks_at_spaces_and_newlines() -> None:
    assert texts(wrap([("one two three\nfour", "")], 8)) == ["one two", "three", "four"]


def test_a_long_word_is_cut() -> None:
    assert texts(wrap([("abcdefghij", "")], 4)) == ["abcd", "efgh", "ij"]


def test_styles_stay_with_their_pieces() -> None:
    lines = wrap([("plain ", ""), ("loss", "loss")], 40)
    assert lines == [[("plain ", ""), ("loss", "loss")]]


def test_escapes_become_pictures() -> None:
    assert texts(wrap([("\x1b[2J[bold]x", "")], 40)) == ["␛[2J[bold]x"]


def test_what_is_left_out_of_a_long_text_is_said() -> None:
    lines = texts(wrap([("x" * (SHOWN_CHARACTERS + 5), "")], 100))
    assert lines[-1] == "… 5 more characters"


@given(st.lists(st.text(max_size=60), max_size=6), st.integers(2, 30))
def test_no_line_is_wider_than_there_is_room(parts: list[str], width: int) -> None:
    for line in texts(wrap([(part, "") for part in parts], width)):
        assert cell_len(line) <= width


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield TextBlock()


async def test_the_scroll_bar_comes_and_goes_and_follows_the_text() -> None:
    app = Shown()
    async with app.run_test(size=(20, 10)) as pilot:
        block = app.query_one(TextBlock)
        for lines, shown in ((30, True), (60, True), (5, False), (40, True)):
            block.show([("line\n" * (lines - 1) + "end", "")])
            await pilot.pause()
            assert block.show_vertical_scrollbar is shown
            assert block.max_scroll_y == max(0, lines - 10)
            if shown:
                assert block.vertical_scrollbar.window_virtual_size == lines
        block.scroll_lines(100)
        await pilot.pause()
        assert block.scroll_offset.y == 30
