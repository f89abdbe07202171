"""Which overlay file holds what was decided by hand about the data of the pane.

It is found again beside the data when the data is opened, and goes with it: other data has another
one. What a person named is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.counted import counted
from core.config.schema import RunConfig

if TYPE_CHECKING:
    from core.data.overlays import Nearby
    from tui.rows import Rows
    from tui.widgets.data_pane import DataPane


class Overlays:
    """Keeps `data.overlay` right for the data pane, and says what it does."""

    def __init__(self, pane: DataPane):
        self._pane = pane
        self._asked: tuple[str, ...] = ()
        """The data for which one was looked for: one that was taken away by hand stays away."""
        self._given = ""
        """The name that was set here, and not by a person."""
        self._decided = False

    def settle(self, config: RunConfig, *, locked: bool) -> tuple[RunConfig, bool]:
        """The settings without an overlay of other data, and whether to look for one."""
        files, named = tuple(config.data.files), config.data.overlay
        if locked:
            self._asked, self._given = files if named else (), named or ""
            return config, False
        if files == self._asked:
            return config, False
        if named and named == self._given:
            self._pane.say(f"{named} is left as it is: it was made for other data")
            config = config.model_copy(deep=True)
            config.data.overlay = named = None
        self._asked = files
        return config, not named and bool(files)

    def seek(self) -> None:
        """Look, in a thread, for decisions about data that is open already."""
        pane = self._pane
        rows, opening = pane.rows, pane.opening

        def look() -> None:
            from core.data.overlays import near

            found = near(rows.files) if rows is not None else []
            pane.app.call_from_thread(taken, found)

        def taken(found: Sequence[Nearby]) -> None:
            if opening is pane.opening and (name := self.take(found)):
                self.give(name)
                pane.post_message(pane.Setting(("data", "overlay"), name))

        pane.run_worker(look, thread=True, group="rows")

    def take(self, found: Sequence[Nearby]) -> str:
        """Say what lies beside the data; the name of the file that is taken, or empty."""
        usable = [one for one in found if not one.problem]
        for one in found:
            if one.problem:
                self._warn(f"{one.problem}: what it decides about this data is not taken")
        if not usable:
            return ""
        first, *others = usable
        name = shown(first.path)
        beside = f"; more is there about {first.about_others}" if first.others else ""
        self._pane.say(f"taken from {name}: {first.words} by hand{beside}")
        if first.torn:
            self._warn(f"the last line of {name} breaks off: it is passed over, and what was "
                       "decided in it is to be decided again")  # fmt: skip
        for other in others:
            self._warn(f"not taken: {shown(other.path)} has {other.words} by hand, too. "
                       "data.overlay says which file is taken")  # fmt: skip
        return name

    def give(self, name: str) -> None:
        """This file is set here; empty: none is."""
        self._given = name

    def made(self, path: Path, rows: Rows) -> str:
        """The first decision made a file: its name for the settings."""
        from core.data.overlays import near

        name = shown(path)
        beside = [one for one in near(rows.files) if one.path != path]
        if beside:
            self._warn(f"{name} is new; {shown(beside[0].path)} stays as it is, and is not taken "
                       "since data.overlay does not name it")  # fmt: skip
        return name

    def miss(self, rows: Rows) -> None:
        """Say that the file that the settings name is not there."""
        path = rows.overlay.path
        if path is not None and not path.exists():
            self._warn(f"data.overlay names {shown(path)}, which is not there: no row is dropped "
                       "or edited by hand. Correct the name, or empty it")  # fmt: skip

    def lost(self, count: int, rows: Rows) -> None:
        """Say that decisions fit no row."""
        if count and rows.overlay.path is not None:
            of = counted(len(rows.overlay), "decision")
            fit = "fits" if count == 1 else "fit"
            self._warn(f"{count:,} of {of} in {shown(rows.overlay.path)} {fit} no row any more: "
                       "the data was changed since. problems (→) lists them")  # fmt: skip

    def decide(self) -> None:
        """Something was decided."""
        self._decided = True

    def found_again(self, name: str) -> bool:
        """Whether an overlay is taken the next time as well, with nothing decided meanwhile."""
        return bool(name) and name == self._given and not self._decided

    def told(self, rows: Rows | None) -> str:
        """What was decided here and in which file it is kept; empty when nothing was."""
        if rows is None or not self._decided or not len(rows.overlay) or not rows.overlay.path:
            return ""
        are = counted(len(rows.overlay), "decision about rows is", "decisions about rows are")
        return f"{are} kept in {shown(rows.overlay.path)}."

    def _warn(self, text: str) -> None:
        self._pane.say(text, warning=True)


def shown(path: Path) -> str:
    """A file's name from the current folder, as the settings have it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
