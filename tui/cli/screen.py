"""Opening the screen. Textual is imported here and nowhere else on the command line."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.record.folder import RunFolder
from tui.cli.parser import Asked
from tui.curtain import curtain

_SWITCH_SECONDS = 0.0005
"""After so long a thread at work gives way to the one that draws."""


def screen(asked: Asked) -> int:
    """``finetui`` without a command."""
    if not asked.out.screen_fits or asked.options.plain:
        raise InputError(
            "the screen needs a terminal",
            kind="no_terminal",
            remedies=("see finetui --help for what works without one",),
        )
    return open_screen(asked.root)


def open_screen(
    root: Path,
    run: RunFolder | None = None,
    config: RunConfig | None = None,
    pane: str = "graphs",
) -> int:
    """Show the screen until the person leaves it: on a run, on a configuration, or empty.

    ``pane`` is the one in front. An error that nobody foresaw ends the screen and passes through.
    """
    gc.disable()  # a collection while the modules load frees nothing, and costs a tenth of it
    with curtain():
        from tui.app import FinetuiApp

        app = FinetuiApp(root, run, config, pane=pane)
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()
    # By default the screen waits ten times as long at each of the forty rows that a jump reads.
    sys.setswitchinterval(_SWITCH_SECONDS)
    app.run()
    app.session.leave()
    if app.failure is not None:
        # An error in a thread comes wrapped, without the place where it arose.
        raise getattr(app.failure, "error", app.failure)
    return app.return_code or 0
