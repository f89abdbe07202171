"""What the command line of ``train.py`` asks for, checked before anything is measured.

Each raises ValueError with a line for whoever called it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from limits import reason

from core.config.errors import InputError
from peers import finetui
from peers.changes import changed, changes_of
from peers.shapes import ENTRANTS, GROUPS, ROWS, Row

_WITH_PACKAGES = tuple(dict.fromkeys((*ENTRANTS, *(name.partition("-")[0] for name in ENTRANTS))))
"""Whom ``--python-path`` can mean: an entrant, or the peer that it is a variant of."""


def finish(options: argparse.Namespace) -> None:
    """Put what is meant into the place of what was written; folders are made last."""
    options.peers = [name for name in options.peers.split(",") if name]
    options.python_path = [(who, packages(who, path)) for who, path in options.python_path]
    environments(options.env)
    workloads(options)
    if options.random_base:
        options.peers = options.peers or [n for n in ENTRANTS if ENTRANTS[n].peer == "finetui"]
    if not wanted(options):
        raise ValueError(f"--peers: {', '.join(options.peers)} takes part in none of these rows")
    settings(options)
    places(options)


def wanted(options: argparse.Namespace) -> list[str]:
    """All who are to be measured, if they are here."""
    names = [name for row in options.rows for name in row.entrants]
    return [name for name in dict.fromkeys(names) if not options.peers or name in options.peers]


def packages(who: str, path: str) -> str:
    """Folders of an entrant, each named in full: a measurement runs in another folder."""
    if who not in _WITH_PACKAGES:
        raise ValueError(f"--python-path {who}: give one of {', '.join(_WITH_PACKAGES)}")
    folders = [Path(part) for part in path.split(os.pathsep) if part]
    gone = [str(folder) for folder in folders if not folder.is_dir()]
    if gone or not folders:
        raise ValueError(f"--python-path {who}={path}: there is no folder {', '.join(gone)}")
    return os.pathsep.join(str(folder.absolute()) for folder in folders)


def environments(parts: Iterable[str]) -> None:
    """Whether each has a known name, a key and a value."""
    for part in parts:
        who, _, assignment = part.partition(":")
        if who not in (*ENTRANTS, "all") or not assignment.partition("=")[0] or (
            "=" not in assignment
        ):  # fmt: skip
            raise ValueError(f"--env {part}: give NAME:KEY=VALUE, the name being an entrant or all")


def workloads(options: argparse.Namespace) -> None:
    """The rows as they will run, and what is changed in them."""
    asked = [name for name in options.rows.split(",") if name]
    names = list(dict.fromkeys(one for name in asked for one in GROUPS.get(name, (name,))))
    unknown = [n for n in names if n not in ROWS] + [n for n in options.peers if n not in ENTRANTS]
    if unknown or not names:
        raise ValueError(f"unknown: {', '.join(unknown)}" if unknown else "name some --rows")
    options.changes = {"random_base": True} if options.random_base else {}
    options.changes |= changes_of(options.change)
    options.rows = changed([ROWS[name] for name in names], options.changes)
    timed = [row.name for row in options.rows if not row.search]
    if options.lengths and timed:
        raise ValueError(f"--lengths: {', '.join(timed)} searches for no length")


def settings(options: argparse.Namespace) -> None:
    """Whether finetui can run with them, where it takes part; others have none."""
    ours = [name for name in wanted(options) if ENTRANTS[name].peer == "finetui"]
    if options.set and not ours:
        raise ValueError("--set: these are settings of finetui, which is not measured here")
    for row in options.rows:
        for name in set(ours) & set(row.entrants):
            _check(row, ENTRANTS[name].options.get("set", {}) | dict(options.set))


def _check(row: Row, given: dict[str, str]) -> None:
    try:
        finetui.config(row, {"set": given}, Path(), "cuda")
    except InputError as error:
        raise ValueError(error.message) from error
    except ModuleNotFoundError:
        return  # finetui's libraries may be on its own path alone: a measurement will tell


def places(options: argparse.Namespace) -> None:
    """Where results, errors and weights go, each named in full; made once all can be."""
    out = options.out = options.out.absolute()
    if out.is_dir():
        raise ValueError(f"--out {out}: this is a folder; name a file in it")
    if out.exists() and not os.access(out, os.W_OK):
        raise ValueError(f"--out {out}: it cannot be written to")
    options.logs = (options.logs or out.parent / "logs").absolute()
    options.models = options.models.absolute()
    folders = {"--out": out.parent, "--logs": options.logs, "--models": options.models}
    for option, path in folders.items():
        _writable(option, path)
    for option, path in folders.items():
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{option}: no folder can be made: {reason(error)}") from error


def _writable(option: str, path: Path) -> None:
    there = next(one for one in (path, *path.parents) if one.exists())
    if not there.is_dir():
        raise ValueError(f"{option}: there is no folder {path}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{option}: nothing can be written into {there}")
