"""The tokenizer that the data pane counts with, loaded in a thread when settings name one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from core.config.errors import FinetuiError
from core.config.schema import RunConfig

if TYPE_CHECKING:
    from core.data.tokens.codec import ChatCodec
    from tui.widgets.data_pane import DataPane

_DRAWN_SECONDS = 5.0
"""After so long it is loaded even if the first rows are not drawn yet."""


class Tokenizing:
    """One tokenizer at a time; another one takes its place when settings name another model."""

    def __init__(self, pane: DataPane):
        self._pane = pane
        self._of: tuple[str, str | None] | None = None
        self.codec: ChatCodec | None = None
        self.ready = False
        """Whether it is known that there is a tokenizer, or none."""
        self.note = ""
        """Why there is none, where settings name one."""

    def follow(self, config: RunConfig, drawn: threading.Event) -> None:
        """Load the tokenizer of these settings when rows are `drawn`, unless it is there."""
        wanted = (config.model.name_or_path, config.model.revision)
        if wanted == self._of or not config.data.files:
            return
        self._of, self.ready = wanted, False
        name, revision = wanted
        pane = self._pane

        def load() -> None:
            drawn.wait(_DRAWN_SECONDS)  # what the rows need is loaded before what counts tokens
            from core.data.tokens.codec import ChatCodec

            codec, note = None, ""
            if name:
                try:
                    codec = ChatCodec.load(name, revision)
                except FinetuiError as error:
                    note = error.message
            pane.app.call_from_thread(loaded, codec, note)

        def loaded(codec: ChatCodec | None, note: str) -> None:
            if wanted == self._of:
                self.codec, self.note, self.ready = codec, note, True
                pane.use_settings()

        pane.run_worker(load, thread=True, exclusive=True, group="codec", name=str(revision))
