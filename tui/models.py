"""The models that the form names: it looks at them at every edit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.config.errors import InputError
from core.config.hub import local_folder

if TYPE_CHECKING:
    from core.model.look import Look

_KEPT_SECONDS = 30.0
"""So long what the hub said is taken for what it would say: a name that it does not have, or a
model that is being downloaded meanwhile, is asked for again after it."""


@dataclass(frozen=True)
class _Kept:
    model: tuple[str, str | None]
    until: float
    look: Look


class Models:
    """Asks the hub once in a while, and reads a local folder each time. For any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: _Kept | None = None

    def look_at(self, name_or_path: str, revision: str | None) -> Look:
        """A look at a model that is not older than half a minute."""
        model, last = (name_or_path, revision), self._last
        if last is not None and last.model == model and self._clock() < last.until:
            return last.look
        from core.model.look import look_at  # 20 ms that the first screen need not wait for

        found = look_at(name_or_path, revision)
        if _on_hub(name_or_path):
            self._last = _Kept(model, self._clock() + _KEPT_SECONDS, found)
        return found


def _on_hub(name_or_path: str) -> bool:
    try:
        return local_folder(name_or_path) is None
    except InputError:  # a folder that is not there yet
        return False
