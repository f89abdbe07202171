"""Keys in the order they were typed, each for the widget that has the focus when its turn comes.

Textual hands a key to the widget with the focus as soon as it is read, and looks for a binding when
it has come up from there. Of a burst, such as a paste or what a slow line held back, keys behind
one that moves the focus would come to where the focus was, and be lost.
"""

from __future__ import annotations

from collections import deque

from textual import events
from textual.app import App
from textual.widget import Widget

_ON_THE_WAY = 1024
"""Keys that may be on their way up at once."""


class TypedApp(App[None]):
    """An app in which a key that comes up from where the focus was goes to where it is."""

    def __init__(self) -> None:
        super().__init__()
        self._on_the_way: deque[tuple[events.Key, Widget | None]] = deque(maxlen=_ON_THE_WAY)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            self._on_the_way.append((event, self.focused))
        await super().on_event(event)

    async def on_key(self, event: events.Key) -> None:
        """A key that no widget took: a binding is looked for next, unless it came too early."""
        given = self._given_to(event)
        focus = self.focused
        if focus is not None and given is not None and given is not focus:
            event.stop()
            event.prevent_default()
            # Not into the queue of messages: what was typed behind it is in there already.
            await self.on_event(events.Key(event.key, event.character))

    def _given_to(self, event: events.Key) -> Widget | None:
        """The widget that had the focus when a key was read. Keys before it are gone by now."""
        while self._on_the_way:
            key, widget = self._on_the_way.popleft()
            if key is event:
                return widget
        return None
