"""What is known of all rows without reading them: what a survey has found so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.config.schema import RunConfig
from core.data.chats.chat import ROLE_LETTERS
from core.data.filter import Array, Mask
from core.data.overlay import DROPPED, EDITED

if TYPE_CHECKING:  # much to load, and nothing that the first rows need
    from core.data.survey import Survey

KEPT = "kept"
TEXT = "text"
"""The role of what is learned as it stands."""
_NAMES = {"answer": "loss_tokens"}


class Known:
    """Answers what a filter asks of all rows, from the survey that is shown.

    ``survey`` may be there, fill, and be replaced at any time.
    """

    def __init__(self, config: RunConfig):
        self.config = config
        self.survey: Survey | None = None
        self.coming: Survey | None = None
        """A survey with other settings, which takes the place of ``survey`` when it is complete."""

    def expect(self, survey: Survey) -> None:
        """A survey has begun. One that was complete is shown until this one is, too."""
        whole = self.survey is not None and self.survey.complete
        self.coming = survey if whole else None
        self.survey = self.survey if whole else survey

    def expected(self) -> None:
        """The survey that was begun last is complete."""
        self.survey, self.coming = self.coming or self.survey, None

    @property
    def known(self) -> int:
        """Rows that the survey has looked at."""
        return self.survey.done if self.survey is not None else 0

    @property
    def looked_at(self) -> bool:
        """Whether the survey has looked at all rows."""
        return self.survey is not None and self.survey.complete

    def number(self, key: str) -> Array:
        """Numbers by a key of the filter line, an entry a known row."""
        if key == "row":
            return np.arange(1, self.known + 1)
        name = _NAMES.get(key, key)
        if self.survey is None:
            return np.zeros(0, dtype=np.int64)
        values: Array = getattr(self.survey, name).astype(np.int64)
        return values

    def word(self, key: str, text: str) -> Mask:
        """Rows for which a key of the filter line says `text`."""
        if self.survey is None:
            return np.zeros(0, dtype=bool)
        if key == "file":
            hits = [n for n, name in enumerate(self.survey.files) if text in name.lower()]
            return np.isin(self.survey.file, hits)
        if key == "note":
            return self._noted(text)
        if key == "role":
            return np.isin(self.survey.roles, _with_role(self.survey.patterns, text))
        if key == "is":
            return self._in_state(text)
        known, codes = self.reasons()
        return np.isin(codes, [n for n, name in enumerate(known) if text in name])

    def reasons(self) -> tuple[list[str], Array]:
        """Names of reasons (0: kept), and the one of each known row."""
        if self.survey is None:
            return [KEPT], np.zeros(0, dtype=np.uint16)
        return list(self.survey.reasons), self.survey.reason

    def late(self, name: str) -> int | None:
        """How many rows the limits in tokens reject for a reason; None where no tokens are known.

        Of a row that is rejected before its tokens count, nothing is known.
        """
        survey = self.survey
        if survey is None or not survey.counted:
            return None
        code = survey.reasons.index(name) if name in survey.reasons else -1
        return int((survey.late_reason == code).sum())

    def next_problem(self, after: int) -> int | None:
        """The number of the next rejected row behind `after`, beginning again at the top."""
        bad = np.flatnonzero(self.reasons()[1])
        if not len(bad):
            return None
        at = int(np.searchsorted(bad, after, "right"))
        return int(bad[at % len(bad)])

    def all_dropped(self, numbers: Array) -> bool:
        """Whether each of these rows is known to be dropped by hand."""
        dropped = self._in_state("dropped")
        return bool(len(numbers) and numbers.max() < len(dropped) and dropped[numbers].all())

    def is_raw(self, number: int) -> bool:
        """Whether a row is a raw text, as far as that is known."""
        survey = self.survey
        if survey is None or number >= survey.done:
            return False
        return bool(survey.patterns[survey.roles[number]] == ROLE_LETTERS[TEXT])

    def _in_state(self, state: str) -> Mask:
        if state == "cut":
            longer: Mask = self.number("tokens") > self.config.data.max_length
            raw = self.word("role", TEXT)  # it is split, and loses nothing
            known = min(len(longer), len(raw))
            cut: Mask = longer[:known] & ~raw[:known]
            return cut
        if state == "edited":
            return self._noted(EDITED)
        names, codes = self.reasons()
        if state == "dropped":
            return np.isin(codes, [n for n, name in enumerate(names) if name == DROPPED])
        found: Mask = codes == 0 if state == KEPT else codes != 0
        return found

    def _noted(self, text: str) -> Mask:
        assert self.survey is not None
        survey = self.survey
        found = np.zeros(survey.done, dtype=bool)
        for name in survey.notes:
            if text in name:
                found |= survey.noted(name)[: len(found)]
        return found

    def origin(self, number: int) -> int | None:
        """The row that this one repeats."""
        if self.survey is None or number >= self.survey.done:
            return None
        found = int(self.survey.origin[number])
        return found if found >= 0 else None


def _with_role(patterns: list[str], role: str) -> list[int]:
    """Orders of roles, told by their letters, that have one whose name begins so."""
    letters = {letter for name, letter in ROLE_LETTERS.items() if name.startswith(role)}
    return [number for number, pattern in enumerate(patterns) if letters & set(pattern)]
