"""The settings while they are being edited: texts of the form, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

from pydantic import ValidationError

from core.config.errors import InputError
from core.config.files import check_value, coerce
from core.config.schema import SECTIONS, RunConfig, section_fields

Name = tuple[str, str]
"""A field: its section and its key."""


class Draft:
    """A configuration as the texts that stand in the form. Texts may be wrong; `config` says so."""

    def __init__(self, config: RunConfig):
        self._texts = _texts(config)
        self._defaults = _texts(RunConfig())
        self._errors: dict[Name, str] = {}
        self._foreign: dict[Name, str] = {}
        self._cross: dict[Name, str] | None = None

    def text(self, name: Name) -> str:
        """What stands in the field."""
        return self._texts[name]

    def texts(self) -> dict[Name, str]:
        """All texts, to tell later whether something was changed."""
        return dict(self._texts)

    def set(self, name: Name, text: str) -> None:
        """Put a text into a field, and check it."""
        self._texts[name] = text
        self._cross = None
        self._foreign.pop(name, None)
        error = check_value(*name, text)
        if error is None:
            self._errors.pop(name, None)
        else:
            self._errors[name] = error

    def reset(self, name: Name) -> None:
        """Put the default back."""
        self.set(name, self._defaults[name])

    def default(self, name: Name) -> str:
        return self._defaults[name]

    def changed(self, name: Name) -> bool:
        """Whether the field holds something else than its default."""
        return self._texts[name] != self._defaults[name]

    def object_to(self, name: Name, error: str | None) -> None:
        """Note what a check outside the schema found, such as against the model; None: fine."""
        if error is None:
            self._foreign.pop(name, None)
        else:
            self._foreign[name] = error

    def error(self, name: Name) -> str | None:
        """Why the field cannot stand as it is."""
        if self._cross is None:
            self._cross = self._across()
        return self._errors.get(name) or self._foreign.get(name) or self._cross.get(name)

    def errors(self) -> dict[Name, str]:
        """Everything that is wrong, in the order of the form."""
        found = {name: self.error(name) for name in self._texts}
        return {name: error for name, error in found.items() if error}

    def meaningless(self) -> tuple[Name, ...]:
        """Fields whose texts mean no setting, in the order of the form.

        Those that only a check outside the schema objects to are not among them.
        """
        if self._cross is None:
            self._cross = self._across()
        wrong = self._errors.keys() | self._cross.keys()
        return tuple(name for name in self._texts if name in wrong)

    def config(self) -> RunConfig:
        """The configuration that the texts mean.

        Raises InputError that names the first field that is wrong.
        """
        for (section, key), error in self.errors().items():
            gap = " " if error.startswith("is ") else ": "
            raise InputError(f"{section}.{key}{gap}{error}", kind="bad_value")
        return RunConfig.model_validate(self._values())

    def last_good(self) -> RunConfig:
        """The configuration, with defaults for the fields whose texts mean nothing."""
        return RunConfig.model_validate(self._values(self.meaningless()))

    def _values(self, without: Container[Name] = ()) -> dict[str, dict[str, Any]]:
        values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        for (section, key), text in self._texts.items():
            if (section, key) not in without:
                values[section][key] = coerce(section_fields(section)[key], text)
        return values

    def _across(self) -> dict[Name, str]:
        """What fields of one section say against each other, put at each of them that changed."""
        try:
            RunConfig.model_validate(self._values(self._errors))
        except ValidationError as error:
            found: dict[Name, str] = {}
            for item in error.errors():
                section = str(item["loc"][0])
                message = item["msg"].removeprefix("Value error, ")
                for key in section_fields(section):
                    if key in message:
                        found[(section, key)] = message
            return found
        return {}


def text_of(value: Any) -> str:
    """A setting's value as it stands in the form; `coerce` reads it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        plain = ", ".join(map(text_of, value))
        return (
            json.dumps(value, ensure_ascii=False) if plain.count(",") >= len(value) > 0 else plain
        )
    if isinstance(value, dict):
        return ", ".join(f"{ours}={theirs}" for ours, theirs in value.items())
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    text = f"{value:g}"
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.6e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text if float(text) == value else repr(value)


def _texts(config: RunConfig) -> dict[Name, str]:
    return {
        (section, key): text_of(getattr(getattr(config, section), key))
        for section in SECTIONS
        for key in section_fields(section)
    }
