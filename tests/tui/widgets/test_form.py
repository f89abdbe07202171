from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from core.config.schema import SECTIONS, RunConfig
from tui.widgets.config_pane import ConfigPane, summary
from tui.widgets.form import FormRows


class ConfigApp(App[None]):
    def compose(self) -> ComposeResult:
        yield ConfigPane(RunConfig())

    @property
    def pane(self) -> ConfigPane:
        return self.query_one(ConfigPane)


@pytest.mark.parametrize("size", [(60, 20), (120, 40)])
async def test_the_cursor_stays_in_view_whatever_the_help_says(size: tuple[int, int]) -> None:
    app = ConfigApp()
    async with app.run_test(size=size) as pilot:
        rows = app.query_one(FormRows)
        rows.focus()
        form = app.pane.form
        for section in SECTIONS:
            form._unfold(section, 2)
        heights = set()
        for key in ["down"] * len(rows.rows) + ["up"] * len(rows.rows):
            await pilot.press(key)
            await pilot.pause()
            heights.add(form.size.height)
            assert form.scroll_offset.y <= rows.cursor < form.scroll_offset.y + form.size.height
        assert len(heights) > 1


def test_a_training_in_fp8_is_known_by_its_line() -> None:
    config = RunConfig()
    assert "FP8" not in summary(config, "train")
    config.train.fp8 = True
    assert summary(config, "train").endswith("cosine · FP8")
