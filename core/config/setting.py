"""What a setting is: a field with help, unit and limits, in a section that checks every edit."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


def setting(
    default: Any, meaning: str, *, unit: str = "", common: bool = False, **limits: Any
) -> Any:
    """A field of the form: its default, one or two sentences of help, its unit and its limits.

    ``common`` fields are shown first; the rest of a section starts folded.
    """
    return Field(
        default, description=meaning, json_schema_extra={"unit": unit, "common": common}, **limits
    )


def is_common(field: FieldInfo) -> bool:
    """Whether the form shows this field before its section is unfolded."""
    extra = field.json_schema_extra
    return bool(isinstance(extra, dict) and extra.get("common"))


def unit_of(field: FieldInfo) -> str:
    """The unit to print behind the field's value, or an empty string."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


class Section(BaseModel):
    """Base of the sections: unknown keys are errors, and edits are checked at once."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


def names_of(value: object) -> object:
    """The parts of a text with commas between, from a form field or a flag; else the value."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value
