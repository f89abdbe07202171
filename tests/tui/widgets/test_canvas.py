from __future__ import annotations

import numpy as np
import pytest

from tui.glyphs import ASCII, BLOCK, BRAILLE, GLYPHS, GlyphSet, glyphs_for
from tui.widgets.canvas import Canvas, dashed, pixels
from tui.widgets.series import Projection


def test_blank_cells_belong_to_the_run_before_them() -> None:
    canvas = Canvas(12, 2)
    canvas.write(2, 0, "ab", "axis")
    canvas.write(6, 0, "c", "train")
    canvas.write(8, 0, "d", "train")
    assert canvas.runs(0) == [("  ab  ", "axis"), ("c d   ", "train")]
    assert canvas.runs(1) == [(" " * 12, "")]


def test_what_falls_outside_is_cut_off() -> None:
    canvas = Canvas(4, 1)
    canvas.write(-2, 0, "abc", "axis")
    canvas.write(2, 0, "defg", "axis")
    canvas.write(0, 5, "no", "axis")
    canvas.write(9, 0, "no", "axis")
    assert canvas.runs(0) == [("c de", "axis")]


def test_a_later_line_takes_a_cell_over_whole() -> None:
    canvas = Canvas(2, 1)
    canvas.paint(0, 0, np.array([[0xFF, 0x01]], dtype=np.uint8), BRAILLE.cells, "raw")
    canvas.paint(0, 0, np.array([[0x01, 0x00]], dtype=np.uint8), BRAILLE.cells, "train")
    assert canvas.runs(0) == [("⠁", "train"), ("⠁", "raw")]


@pytest.mark.parametrize("glyphs", GLYPHS.values(), ids=GLYPHS)
def test_each_set_draws_every_pattern(glyphs: GlyphSet) -> None:
    patterns = 2 ** (glyphs.pixel_rows * glyphs.pixel_columns)
    assert len(glyphs.cells) == len(set(glyphs.cells)) == patterns
    full = np.ones((2 * glyphs.pixel_rows, 3 * glyphs.pixel_columns), dtype=np.bool_)
    masks = glyphs.masks(full)
    assert masks.shape == (2, 3)
    assert (masks == patterns - 1).all()
    assert glyphs.cells[0] == " "


def test_pixels_land_where_the_glyph_has_them() -> None:
    def cell(glyphs: GlyphSet, row: int, column: int) -> str:
        picture = np.zeros((glyphs.pixel_rows, glyphs.pixel_columns), dtype=np.bool_)
        picture[row, column] = True
        return glyphs.cells[glyphs.masks(picture)[0, 0]]

    assert [cell(BRAILLE, *at) for at in ((0, 0), (0, 1), (3, 0), (3, 1))] == list("⠁⠈⡀⢀")
    assert [cell(BLOCK, *at) for at in ((0, 0), (0, 1), (1, 0), (1, 1))] == list("▘▝▖▗")
    assert [cell(ASCII, *at) for at in ((0, 0), (1, 0))] == list("'.")


def test_ascii_is_ascii() -> None:
    drawn = "".join(str(value) for value in vars(ASCII).values())
    assert drawn.isascii()


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("UTF-8", BRAILLE), ("utf8", BRAILLE), ("ANSI_X3.4-1968", ASCII), ("latin-1", ASCII)],
)
def test_glyphs_follow_the_encoding(encoding: str, glyphs: GlyphSet) -> None:
    assert glyphs_for(encoding) is glyphs
    assert glyphs_for(None) is ASCII


def test_dashes_leave_single_points_alone() -> None:
    row = np.zeros(40, dtype=np.int64)
    line = dashed(Projection(row, row), ASCII)
    assert "".join("-" if top >= 0 else " " for top in line.top).startswith("------   ------   ")
    lonely = np.full(40, -1, dtype=np.int64)
    lonely[7] = 0
    assert dashed(Projection(lonely, lonely), ASCII).top[7] == 0


def test_pixels_of_a_projection() -> None:
    top, bottom = np.array([0, -1, 1]), np.array([1, -1, 2])
    assert pixels(Projection(top, bottom), 3).tolist() == [
        [True, False, False],
        [True, False, True],
        [False, False, True],
    ]
