"""Flags for every setting: ``--section.field value``, taken from the one declaration."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from core.config.errors import InputError
from core.config.files import choices_of
from core.config.schema import SECTIONS, RunConfig, section_fields
from core.config.setting import unit_of

_WIDTH = 96


def split(
    words: Sequence[str], switches: Sequence[str], valued: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Sort a command's words into settings and the rest, which the command's own parser takes.

    ``switches`` and ``valued`` are the command's own options without and with a value. A setting
    is ``--name value`` or ``--name=value``; a yes/no setting may stand without its value. A list
    that is given several times grows. Raises InputError for a setting without a value.
    """
    settings: dict[str, str] = {}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if word == "--":
            return settings, rest + queue
        if not word.startswith("--") or f"--{name}" in switches:
            rest.append(word)
        elif f"--{name}" in valued:
            rest += [word] if equals else [word, *queue[:1]]
            queue = queue if equals else queue[1:]
        else:
            if not equals:
                value = _value(name, queue)
            repeated = name in settings and _is_list(name)
            settings[name] = f"{settings[name]},{value}" if repeated else value
    return settings, rest


def reference() -> str:
    """All settings with their defaults and help, for the end of a command's ``--help``."""
    lines = ["settings (all optional but the model and the data):"]
    defaults = RunConfig()
    for section in SECTIONS:
        about = (type(getattr(defaults, section)).__doc__ or "").strip()
        lines += ["", f"{section}: {about}"]
        for key, info in section_fields(section).items():
            lines += _entry(section, key, info)
    return "\n".join(lines) + "\n"


def _entry(section: str, key: str, info: FieldInfo) -> list[str]:
    allowed = "|".join(choices_of(info))
    shown = _shown(info.get_default(call_default_factory=True))
    unit = unit_of(info)
    kind = allowed or unit or _kind(info)
    text = f"{info.description} [{shown}]" if shown else str(info.description)
    return [
        f"  --{section}.{key} {kind}",
        *textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _kind(info: FieldInfo) -> str:
    names: Mapping[Any, str] = {
        bool: "yes|no", int: "number", float: "number", dict[str, str]: "ours=theirs,...",
    }  # fmt: skip
    return names.get(info.annotation, "a,b,..." if _holds_list(info) else "text")


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, list | dict):
        return ",".join(default)
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def _value(name: str, queue: list[str]) -> str:
    if queue and not queue[0].startswith("--"):
        return queue.pop(0)
    info = _field(name)
    if info is not None and info.annotation is bool:
        return "yes"
    raise InputError(f"--{name} needs a value", kind="bad_value")


def _is_list(name: str) -> bool:
    info = _field(name)
    return info is not None and (_holds_list(info) or get_origin(info.annotation) is dict)


def _holds_list(info: FieldInfo) -> bool:
    return any(get_origin(kind) is list for kind in (info.annotation, *get_args(info.annotation)))


def _field(name: str) -> FieldInfo | None:
    section, _, key = name.rpartition(".")
    homes = [section] if section in SECTIONS else SECTIONS if not section else []
    return next((section_fields(s)[key] for s in homes if key in section_fields(s)), None)
