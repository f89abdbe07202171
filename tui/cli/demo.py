"""demo: the whole way on the sample data and the tiny model, on any machine, offline."""

from __future__ import annotations

from core.config import files
from core.config.errors import InputError
from core.config.samples import demo_config
from core.config.schema import RunConfig
from core.record.folder import free_name
from tui.cli.parser import Asked


def demo(asked: Asked) -> int:
    """The screen with the demo ready to start; ``--headless``: train, merge, print the matches."""
    config = files.apply(demo_config(), asked.settings).config
    config.run.name = config.run.name or free_name(asked.root, "demo")
    if not asked.options.headless:
        if not asked.out.screen_fits or asked.options.plain:
            raise InputError(
                "the screen needs a terminal",
                kind="no_terminal",
                remedies=("run it without one: finetui demo --headless",),
            )
        from tui.cli.screen import open_screen

        return open_screen(asked.root, config=config)
    return _headless(config, asked)


def _headless(config: RunConfig, asked: Asked) -> int:
    from core.run import link
    from tui.cli.check import check
    from tui.cli.deliver import merge_run
    from tui.cli.runs import watch

    check(config)
    started = link.Link.start(config, asked.root)
    asked.out.note(f"run {started.folder.name} in {started.folder.path}")
    code = watch(started, asked.out)
    return code or merge_run(started.folder, asked.out)
