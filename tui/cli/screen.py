"""Opening the screen. Textual is imported here and nowhere else on the command line."""

from __future__ import annotations

from pathlib import Path

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.record.folder import RunFolder
from tui.cli.parser import Asked


def screen(asked: Asked) -> int:
    """``finetui`` without a command."""
    if not asked.out.screen_fits or asked.options.plain:
        raise InputError(
            "the screen needs a terminal",
            kind="no_terminal",
            remedies=("see finetui --help for what works without one",),
        )
    return open_screen(asked.root)


def open_screen(root: Path, run: RunFolder | None = None, config: RunConfig | None = None) -> int:
    """Show the screen until the person leaves it: on a run, on a configuration, or empty."""
    from tui.app import FinetuiApp

    app = FinetuiApp(root, run, config)
    app.run()
    return app.return_code or 0
