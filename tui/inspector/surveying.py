"""The survey of the rows that the data pane shows: begun when settings change, in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from tui import numbers
from tui.wanted import survey_key

if TYPE_CHECKING:
    from core.data.survey import Survey
    from core.data.tokens.codec import ChatCodec
    from tui.rows import Rows
    from tui.widgets.data_pane import DataPane


class Surveying:
    """One survey at a time; another one takes its place when settings or tokenizer change."""

    def __init__(self, pane: DataPane):
        self._pane = pane
        self._of: object = None
        """The settings and the tokenizer that the survey was begun with."""
        self.survey: Survey | None = None

    @property
    def going(self) -> bool:
        """Whether rows are being looked at."""
        return self.survey is not None and not self.survey.complete

    @property
    def part(self) -> str:
        """How far a survey is that goes on; empty when none does."""
        survey = self.survey
        if survey is None or survey.complete or not survey.progress.total_bytes:
            return ""
        if survey.progress.stage != "reading":
            return f"{survey.progress.stage} rows"
        part = survey.progress.done_bytes / survey.progress.total_bytes
        left = survey.progress.remaining_seconds
        return f"{part:.0%} looked at" + (f", {numbers.clock(left)}" if left is not None else "")

    def stop(self) -> None:
        """Look at these rows no more."""
        self.survey = self._of = None

    def follow(self, rows: Rows, config: RunConfig, codec: ChatCodec | None) -> None:
        """Begin a survey, unless there is one with these settings."""
        wanted = (survey_key(config), id(codec))
        if wanted != self._of:
            self._of = wanted
            self._begin(rows, config, codec)

    def _begin(self, rows: Rows, config: RunConfig, codec: ChatCodec | None) -> None:
        from core.data.survey import Survey
        from tui.scan import Ended, ready_for_processes

        survey = self.survey = Survey(config, codec)
        pane, opening = self._pane, self._pane.opening
        rows.expect(survey)

        def alive(_: Survey) -> None:
            if self.survey is not survey or not pane.is_attached:
                raise Ended

        def look() -> None:
            ready_for_processes()
            try:
                survey.run(alive)
            except Ended:
                return
            except (FinetuiError, OSError) as error:
                pane.app.call_from_thread(pane.refuse, opening, error)
                return
            pane.app.call_from_thread(self._ended, rows, survey)

        pane.run_worker(look, thread=True, group="survey")

    def _ended(self, rows: Rows, survey: Survey) -> None:
        if self.survey is survey and self._pane.rows is rows:
            rows.expected()
            rows.forget()
            self._pane.survey_ended(rows)
