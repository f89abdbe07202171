"""What the command line prints: inert text, colour only where a terminal wants it, plain JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from core.config.errors import FinetuiError
from tui.inert import inert

Style = Literal["bold", "dim", "red", "yellow", "green"]

_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "yellow": "33", "green": "32"}


class Output:
    """Results go to stdout, everything else to stderr, so that both can be piped.

    With ``as_json`` stdout holds JSON alone; ``say`` and ``table`` are then silent.
    """

    def __init__(self, *, as_json: bool = False, plain: bool = False):
        self.as_json = as_json
        self._plain = plain or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"

    @property
    def screen_fits(self) -> bool:
        """Whether a full screen can and should be opened here."""
        return sys.stdin.isatty() and sys.stdout.isatty() and not self.as_json

    def say(self, text: str = "", style: Style | None = None) -> None:
        """A line of the answer."""
        if not self.as_json:
            _print(self._styled(inert(text, keep="\n"), style, sys.stdout), sys.stdout)

    def note(self, text: str, style: Style | None = None) -> None:
        """A line beside the answer: notices, progress, what a key will do."""
        _print(self._styled(inert(text, keep="\n"), style, sys.stderr), sys.stderr)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as their widest cell; the last one may be of any length."""
        cells = [[inert(cell) for cell in row] for row in (head, *rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
        for number, row in enumerate(cells):
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.say("  ".join(padded).rstrip(), "bold" if number == 0 else None)

    def document(self, value: Any) -> None:
        """The one JSON document of a command; only with ``as_json``."""
        if self.as_json:
            _print(json.dumps(plain(value), indent=2, ensure_ascii=False), sys.stdout)

    def line(self, value: Any) -> None:
        """One of the JSON lines of a command that follows a run; only with ``as_json``."""
        if self.as_json:
            _print(json.dumps(plain(value), ensure_ascii=False), sys.stdout)

    def failure(self, error: FinetuiError, *, on_stdout: bool = True) -> None:
        """An error and what to do about it, on stderr; with ``as_json`` on stdout as well."""
        self.note(f"finetui: {error.message}", "red")
        for remedy in error.remedies:
            self.note(f"  - {remedy}")
        if not on_stdout:
            return
        self.line(
            {
                "error": {
                    "kind": error.kind,
                    "message": error.message,
                    "remedies": list(error.remedies),
                }
            }
        )

    def _styled(self, text: str, style: Style | None, stream: Any) -> str:
        if style is None or self._plain or not stream.isatty():
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def plain(value: Any) -> Any:
    """A value as JSON can hold it; NaN and infinity become strings, as in the journal."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _print(text: str, stream: Any) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # A half character from a data set, or a terminal without UTF-8, must not end the program.
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
