"""Keys one at a time, each for the widget that has the focus when its turn comes.

Textual hands a key to the widget with the focus as soon as it is read. Of a burst, such as a paste
or what a slow line held back, keys behind one that moves the focus would come to where the focus
was, and later ones overtake them. So a key waits until the one before it has gone all its way up,
with what it set off in the widgets there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from textual import events
from textual.app import App
from textual.widget import Widget

_WAITING = 1024
"""Keys that may wait for their turn."""
_LOST_SECONDS = 0.5
"""After this time a key that waits is handed out, wherever the one before it has got to."""


class TypedApp(App[None]):
    """An app in which keys arrive in order, also those that were typed ahead."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[events.Key | events.Paste] = deque(maxlen=_WAITING)
        self._turn, self._under_way = 0, False
        self._key: tuple[events.Event, Widget | None] | None = None
        """The key that is under way, and the widget that it was handed to."""

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._under_way:
            self._waiting.append(event)
            self._release_late()
        else:
            await self._hand_out(event)

    async def on_key(self, event: events.Key) -> None:
        """A key that no widget took: a binding is looked for next, unless it came too early."""
        given, focus = self._key, self.focused
        if given is None or given[0] is not event or given[1] is None:
            return
        if focus is not None and given[1] is not focus:
            event.stop()
            event.prevent_default()
            await self._hand_out(events.Key(event.key, event.character))

    async def _hand_out(self, event: events.Key | events.Paste) -> None:
        self._turn, self._under_way = self._turn + 1, True
        self._key = event, self.focused
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
        while nodes:
            again = partial(self._follow, nodes if behind else nodes[1:], turn, behind=not behind)
            if nodes[0].call_later(again):
                return
            nodes, behind = nodes[1:], True  # it is closing: nothing comes from there any more
        await self._passed(turn)

    async def _passed(self, turn: int) -> None:
        """The key of this turn is done; the next one that waits."""
        if turn != self._turn or not self._under_way:
            return
        self._under_way, self._key = False, None
        if self._waiting:
            await self._hand_out(self._waiting.popleft())
