"""Results of measurements in JSON lines: read, checked, told apart, and added."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from limits import reason

from peers.shapes import ENTRANTS, ROWS

Result = dict[str, Any]
Key = tuple[str, str, int | None, str, str]
_BEGINNING = '{"row": "'
"""What each line begins with that this program writes."""
_NUMBERS = (
    "tokens_per_second", "peak_allocated_gib", "peak_reserved_gib", "device_peak_gib",
    "first_step_seconds", "longest_length", "turn",
)  # fmt: skip
_TEXTS = ("card", "note", "error", "path", "why", "adapter_dtype")


def key(result: Result) -> Key:
    """What tells a measurement from all others: workload, entrant, turn, settings and changes.

    The last two in canonical JSON. Lines of earlier versions lack them, or have None.
    """
    given = dict(setting.partition("=")[::2] for setting in result.get("set") or ())
    changes = result.get("changes") or {}
    return (
        result["row"], result["entrant"], result.get("turn"),
        json.dumps(given, sort_keys=True), json.dumps(changes, sort_keys=True),
    )  # fmt: skip


def failed(results: Iterable[Result]) -> list[Result]:
    """The measurements that came to nothing, and were not repeated with success (--resume)."""
    last = {key(one): one for one in results}
    return [one for one in last.values() if one["outcome"] != "measured"]


def forgotten(results: Iterable[Result]) -> list[str]:
    """Names of workloads among the results that are not known any more."""
    return [row for row in dict.fromkeys(one["row"] for one in results) if row not in ROWS]


def read(files: Iterable[Path]) -> list[Result]:
    """All results of some files; a last line that a killed run left half written is left out.

    Raises ValueError, with file and line, for a file with something else in it.
    """
    found = []
    for file in files:
        try:
            *lines, last = file.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError:
            raise ValueError(f"{file} is no text, and holds no results") from None
        except OSError as error:
            raise ValueError(reason(error)) from error
        if not _half(last):
            lines.append(last)
        for number, line in enumerate(lines, 1):
            if line.strip():
                found.append(_result(line, f"{file}, line {number},"))
    return found


def tabled(files: Iterable[Path]) -> list[Result]:
    """All results of some files, for a table. Raises ValueError where a file has none for it."""
    found = []
    for file in files:
        of_file = read([file])
        if not any(one["row"] in ROWS for one in of_file):
            gone = ", ".join(forgotten(of_file))
            why = f": no workload is called {gone}" if gone else ""
            raise ValueError(f"{file} holds no results of measurements{why}")
        found += of_file
    return found


def add(file: Path, result: Result) -> None:
    """Write one more line. One that a killed run left half written makes room for it."""
    begun = b""
    if file.is_file():
        whole = file.read_bytes()
        rest = whole.rpartition(b"\n")[2]
        if _half(rest.decode(errors="replace")):
            with file.open("r+b") as lines:
                lines.truncate(len(whole) - len(rest))
        elif rest:
            begun = b"\n"
    with file.open("ab") as lines:
        lines.write(begun + json.dumps(result).encode() + b"\n")


def _half(line: str) -> bool:
    """Whether a file's last line is the beginning of a result, and not the whole."""
    if not line or line[: len(_BEGINNING)] != _BEGINNING[: len(line)]:
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _result(line: str, place: str) -> Result:
    try:
        found = json.loads(line)
    except ValueError:
        raise ValueError(f"{place} is no JSON") from None
    if wrong := _wrong(found):
        raise ValueError(f"{place} {wrong}")
    return dict(found)


def _wrong(line: Any) -> str:
    """What keeps a line from being a result; empty where nothing does."""
    if not isinstance(line, dict) or not all(
        isinstance(line.get(name), str) for name in ("row", "entrant", "outcome")
    ):
        return "is no result of a measurement"
    if line["row"] in ROWS and line["entrant"] not in ENTRANTS:
        known = ", ".join(ENTRANTS)
        return f"is of an entrant that is not known, {line['entrant']}; known: {known}"
    checks = {
        "a number": (_NUMBERS, _is_number), "a text": (_TEXTS, _is_text),
        "a list of texts": (("set",), lambda value: _are_texts(value, list)),
        "texts by name": (("versions",), lambda value: _are_texts(value, dict)),
        "values by name": (("changes",), lambda value: isinstance(value, dict)),
    }  # fmt: skip
    for what, (names, holds) in checks.items():
        for name in names:
            if line.get(name) is not None and not holds(line[name]):
                return f"has {json.dumps(line[name])[:40]} as {name}, which is {what}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any, kind: type) -> bool:
    parts = value.values() if isinstance(value, dict) else value
    return isinstance(value, kind) and all(isinstance(part, str) for part in parts)
