"""train, resume, attach: starting runs and watching them."""

from __future__ import annotations

from core.config.errors import InputError
from core.record import folder
from core.record.folder import RunFolder
from core.record.state import LIVE, state_of
from core.run import link
from tui.cli.check import check, configuration, tell_decisions
from tui.cli.follow import Mode, Watch, conclude, newest
from tui.cli.output import Output
from tui.cli.parser import Asked


def train(asked: Asked) -> int:
    """Make a run and train it; with ``--json`` its journal as JSON lines."""
    config = configuration(asked)
    if asked.options.in_process:
        config.run.engine_host = "thread"
    if asked.options.detach and config.run.engine_host == "thread":
        raise InputError(
            "a run inside this program cannot be detached from it",
            remedies=("leave out --detach, or set run.engine_host to process",),
        )
    check(config)
    tell_decisions(config, asked.out)
    started = link.Link.start(config, asked.root)
    asked.out.note(f"run {started.folder.name} in {started.folder.path}")
    if asked.options.detach:
        return _detached(started.folder, asked.out)
    return watch(started, asked.out)


def resume(asked: Asked) -> int:
    """Go on with a run; with ``--json`` its journal from here on as JSON lines."""
    found = folder.resolve(asked.options.run, asked.root)
    held, after = link.Link(found), newest(found)
    if not found.data.exists():
        asked.out.note(f"{found.name} has no frozen data yet: it is prepared, and then trained")
    held.launch("train")
    if asked.options.detach:
        return _detached(found, asked.out)
    return watch(held, asked.out, after=after)


def attach(asked: Asked) -> int:
    """Watch a run: the screen on a terminal; else its events as text or JSON lines."""
    found = folder.resolve(asked.options.run, asked.root)
    if asked.out.screen_fits and not asked.options.plain:
        from tui.cli.screen import open_screen

        return open_screen(asked.root, run=found)
    state = state_of(found)
    if state.status not in LIVE:
        asked.out.note(f"nothing runs on {found.name}: it is {state.status}")
        from tui.cli.show import show

        return show(asked)
    asked.out.note(f"{found.name}: {state.status}, step {state.step} of {state.total_steps}")
    mode: Mode = "lines" if asked.out.as_json else "text"
    watching = Watch(link.Link(found), asked.out, mode, after=newest(found), on_interrupt=None)
    return conclude(watching, watching.to_end(), asked.out)


def watch(held: link.Link, out: Output, *, after: int = 0) -> int:
    """Follow a training to its end and say what comes next."""
    watching = Watch(held, out, "lines" if out.as_json else "text", after=after)
    end = watching.to_end()
    code = conclude(watching, end, out)
    if code == 0 and watching.state.trained:
        name = held.folder.name
        out.note(f"the adapter is in {held.folder.adapter}; merge it: finetui merge {name}")
    return code


def _detached(run: RunFolder, out: Output) -> int:
    out.note(f"{run.name} runs on its own; watch it: finetui attach {run.name}")
    out.document({"run": run.name, "folder": run.path, "job": "train", "status": "started"})
    return 0
