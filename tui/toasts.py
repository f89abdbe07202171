"""Toasts: nothing is said twice at once, and no more than a few lie over what is shown."""

from __future__ import annotations

from textual.app import App
from textual.notifications import Notify

STANDING = 3
"""Toasts at once; the oldest make room."""


class ToastApp(App[None]):
    """An app whose toasts do not pile up."""

    def on_notify(self, event: Notify) -> None:
        """Take away what the new toast repeats, and what is one too many."""
        new = event.notification
        for old in list(self._notifications):
            if old.message == new.message:
                del self._notifications[old]
        for old in list(self._notifications)[: 1 - STANDING]:
            del self._notifications[old]
