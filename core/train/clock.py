"""How long steps take, without what was not training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StepClock:
    """Seconds, steps and tokens since the last point on the curve."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._away_seconds = 0.0
        self._depth = 0
        self._steps = self._tokens = 0

    def count(self, tokens: int) -> None:
        """One more step, which went through so many tokens."""
        self._steps += 1
        self._tokens += tokens

    def restart(self) -> tuple[float, int, int]:
        """(seconds, steps, tokens) so far; counts from zero again."""
        now = time.monotonic()
        counted = (now - self._began - self._away_seconds, self._steps, self._tokens)
        self._began, self._away_seconds, self._steps, self._tokens = now, 0.0, 0, 0
        return counted

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Time inside does not count; may be nested."""
        started, self._depth = time.monotonic(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._away_seconds += time.monotonic() - started
