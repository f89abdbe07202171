from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.widgets.log_buffer import LEVELS, LogBuffer, LogLine


def line(text: str, level: str = "info", time: float = 0.0) -> LogLine:
    return LogLine(time, level, text)


def texts(buffer: LogBuffer) -> list[str]:
    return [buffer.row(y).text for y in range(buffer.rows)]


def test_lines_come_back_in_order() -> None:
    buffer = LogBuffer()
    assert buffer.rows == 0
    change = buffer.extend([line("a"), line("b")])
    assert change == (2, 0)
    assert texts(buffer) == ["a", "b"]


def test_the_ring_says_what_left_it() -> None:
    buffer = LogBuffer(capacity=3)
    buffer.extend(line(str(n)) for n in range(3))
    assert buffer.extend([line("3"), line("4")]) == (2, 2)
    assert texts(buffer) == ["2", "3", "4"]
    assert buffer.dropped == 2
    assert buffer.row(0).id == 2
    assert buffer.extend(line(str(n)) for n in range(5, 15)) == (3, 3)
    assert texts(buffer) == ["12", "13", "14"]
    assert buffer.dropped == 12


def test_text_is_inert_and_split_at_line_ends() -> None:
    buffer = LogBuffer()
    buffer.extend([line("a\x1b[31m\tb\r\nc\n", "error", 5.0), line("10 %\r20 %"), line("")])
    assert texts(buffer) == ["a␛[31m  b", "c", "10 %␍20 %", ""]
    assert buffer.row(1).line == LogLine(5.0, "error", "c")


def test_endless_lines_are_cut_and_say_so() -> None:
    buffer = LogBuffer()
    buffer.extend([line("x" * 25_000)])
    assert buffer.row(0).text.endswith("x … and 15,000 more characters")
    assert len(buffer.row(0).text) < 10_100


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("all", ["d", "i", "w", "e", "c", "?"]),
        ("info", ["i", "w", "e", "c", "?"]),
        ("warning", ["w", "e", "c"]),
        ("error", ["e", "c"]),
    ],
)
def test_levels_filter(level: str, expected: list[str]) -> None:
    names = ["debug", "info", "warning", "error", "critical", "strange"]
    before, after = LogBuffer(), LogBuffer()
    before.filter(level)
    for buffer in (before, after):
        buffer.extend(line("?" if name == "strange" else name[0], name) for name in names)
    after.filter(level)
    assert texts(before) == texts(after) == expected
    assert before.shown == len(expected)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of all, info, warning, error"):
        LogBuffer().filter("loud")


def test_search_ignores_case_unless_it_has_capitals() -> None:
    buffer = LogBuffer()
    buffer.extend([line("Loss is loss"), line("nothing"), line("LOSS")])
    buffer.search("loss")
    assert buffer.matches == [0, 2]
    assert buffer.hits("Loss is loss") == [(0, 4), (8, 12)]
    buffer.search("Loss")
    assert buffer.matches == [0]
    buffer.extend([line("another Loss")])
    assert buffer.matches == [0, 3]
    buffer.search("")
    assert buffer.matches == []


def test_wrapped_rows_know_their_line() -> None:
    buffer = LogBuffer()
    buffer.wrap(4)
    buffer.extend([line("abcdefghij"), line(""), line("한국어어")])
    assert texts(buffer) == ["abcd", "efgh", "ij", "", "한국", "어어"]
    assert [buffer.row(y).start for y in range(6)] == [0, 4, 8, 0, 0, 2]
    assert [buffer.row_of(id_) for id_ in (0, 1, 2, 3)] == [0, 3, 4, 6]
    buffer.wrap(None)
    assert buffer.rows == 3


def test_clear_keeps_how_it_looks() -> None:
    buffer = LogBuffer(capacity=2)
    buffer.filter("error")
    buffer.wrap(10)
    buffer.extend([line("x", "error")] * 5)
    buffer.clear()
    assert (len(buffer), buffer.rows, buffer.dropped) == (0, 0, 0)
    buffer.extend([line("quiet"), line("loud", "error")])
    assert texts(buffer) == ["loud"]


words = st.text(st.sampled_from("ab 한👍é\u0301"), max_size=12)
entries = st.lists(st.tuples(words, st.sampled_from(["debug", "info", "error"])), max_size=8)


@given(
    batches=st.lists(entries, max_size=5),
    capacity=st.integers(1, 10),
    width=st.one_of(st.none(), st.integers(2, 9)),
    level=st.sampled_from(LEVELS),
    late=st.booleans(),
)
def test_the_view_is_the_same_whenever_it_was_arranged(
    batches: list[list[tuple[str, str]]],
    capacity: int,
    width: int | None,
    level: str,
    late: bool,
) -> None:
    """Added bit by bit to a filtered, wrapped and searched ring, or arranged all at the end."""
    buffer = LogBuffer(capacity)

    def arrange() -> None:
        buffer.filter(level)
        buffer.wrap(width)
        buffer.search("a")

    if not late:
        arrange()
    rows = 0
    for batch in batches:
        left = buffer.extend(line(text, name) for text, name in batch).rows_left
        assert 0 <= left <= rows
        rows = buffer.rows
    if late:
        arrange()
    everything = [line(text, name) for batch in batches for text, name in batch]
    kept = everything[max(0, len(everything) - capacity) :]
    wanted = [entry for entry in kept if entry.rank >= LEVELS.index(level)]
    assert buffer.dropped == len(everything) - len(kept)
    joined: dict[int, str] = {}
    for y in range(buffer.rows):
        row = buffer.row(y)
        assert width is None or cell_len(row.text) <= width
        assert row.start == len(joined.get(row.id, ""))
        joined[row.id] = joined.get(row.id, "") + row.text
        assert buffer.row_of(row.id) <= y
    if width is None:
        assert list(joined.values()) == [entry.text for entry in wanted]
    else:
        assert len(joined) == len(wanted)
    assert len(buffer.matches) == sum("a" in entry.text for entry in wanted)
