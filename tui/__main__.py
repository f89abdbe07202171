"""The program: ``finetui``, also ``python -m tui``."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from core.config.errors import FinetuiError
from tui.cli.output import Output
from tui.cli.parser import parse

INTERRUPTED = 130
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
"""Else pydantic looks through every installed package for plugins, at each start."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 1 failed, 2 bad input or configuration, 3 refused, 130 interrupted. No error leaves
    as a traceback: an unexpected one goes to a file, and its name is printed.
    """
    _open_closed_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    out = Output(as_json="--json" in words, plain="--plain" in words)
    try:
        command, asked = parse(words)
        return command.run(asked)
    except SystemExit as end:  # argparse: help was printed, or the words were wrong
        return end.code if isinstance(end.code, int) else 2
    except FinetuiError as error:
        out.failure(error)
        return error.exit_code
    except KeyboardInterrupt:
        out.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has gone. Point stdout elsewhere, or the exit would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _unexpected(error, out)


def _open_closed_streams() -> None:
    """Let what goes to a closed stream (`>&-`) go nowhere, and no data file take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - to the end
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _unexpected(error: Exception, out: Output) -> int:
    """Say in one sentence what happened; the traceback goes to a file."""
    from core.monitor.remedies import explain

    told = explain(error)
    place = _write_crash(error)
    kept = f"the details are in {place}" if place else "the details could not be written"
    out.failure(type(told)(told.message, kind=told.kind, remedies=(*_own(told), kept)))
    return told.exit_code


def _own(told: FinetuiError) -> tuple[str, ...]:
    # The catalog's last resort points to a run's log; here there may be no run.
    return () if told.kind == "unexpected" else told.remedies


def _write_crash(error: Exception) -> Path | None:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(state) / "finetui" / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return None
    return path


if __name__ == "__main__":
    sys.exit(main())
