"""Keys one at a time, each for the widget that has the focus when its turn comes.

Textual hands a key to the widget with the focus as soon as it is read. Of a burst, such as a paste
or what a slow line held back, keys behind one that moves the focus would come to where the focus
was, and later ones overtake them. So a key waits until the one before it has gone all its way up,
with what it set off in the widgets there. Arrows, and letters in a line of text, move no focus and
follow each other freely.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from textual import events
from textual.app import App
from textual.widget import Widget
from textual.widgets import Input, TextArea

_WAITING = 1024
"""Keys that may wait for their turn."""
_LOST_SECONDS = 0.5
"""After this time a key that waits is handed out, wherever the one before it has got to."""
_ARROWS = frozenset(("up", "down", "left", "right", "pageup", "pagedown", "home", "end"))


class _UnderWay(NamedTuple):
    event: events.Key | events.Paste
    widget: Widget | None
    """What it was handed to: where the focus was."""

    @property
    def stays(self) -> bool:
        """Whether the focus stays where it is, whatever the widget does with it."""
        if not isinstance(self.event, events.Key):
            return False
        text = isinstance(self.widget, Input | TextArea) and self.event.is_printable
        return text or self.event.key in _ARROWS


class TypedApp(App[None]):
    """An app in which keys arrive in order, also those that were typed ahead."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[events.Key | events.Paste] = deque(maxlen=_WAITING)
        self._last: _UnderWay | None = None
        """The key that is under way, the last of several that follow each other freely."""
        self._turn, self._undrawn = 0, ExitStack()

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._last is None or self._follows_freely(event):
            await self._hand_out(event)
        else:
            if not self._waiting:  # nothing is drawn while keys wait
                self._undrawn.enter_context(self.batch_update())
                self._release_late()
            self._waiting.append(event)

    async def on_key(self, event: events.Key) -> None:
        """A key that no widget took: a binding is looked for next, unless it came too early."""
        last, focus = self._last, self.focused
        if last is None or last.event is not event or last.widget is None:
            return
        if focus is not None and last.widget is not focus:
            event.stop()
            event.prevent_default()
            await self._hand_out(events.Key(event.key, event.character))

    def _follows_freely(self, event: events.Key | events.Paste) -> bool:
        last = self._last
        if self._waiting or last is None or last.widget is not self.focused:
            return False
        return last.stays and _UnderWay(event, last.widget).stays

    async def _hand_out(self, event: events.Key | events.Paste) -> None:
        self._turn, self._last = self._turn + 1, _UnderWay(event, self.focused)
        place = self.focused or self.screen
        await super().on_event(event)
        if self._waiting:
            self._release_late()
        await self._follow(place.ancestors_with_self, self._turn)

    def _release_late(self) -> None:
        self.set_timer(_LOST_SECONDS, partial(self._passed, self._turn))

    async def _follow(self, nodes: Sequence[Any], turn: int, *, behind: bool = True) -> None:
        """Go up behind a key: in each node's queue twice, the second time behind what it set off
        there."""
        while nodes and turn == self._turn:
            again = partial(self._follow, nodes if behind else nodes[1:], turn, behind=not behind)
            if nodes[0].call_later(again):
                return
            nodes, behind = nodes[1:], True  # it is closing: nothing comes from there any more
        await self._passed(turn)

    async def _passed(self, turn: int) -> None:
        """The key of this turn is done; the next one that waits."""
        if turn != self._turn:
            return
        self._last = None
        following = self._waiting.popleft() if self._waiting else None
        if not self._waiting:
            self._undrawn.close()
        if following is not None:
            await self._hand_out(following)
