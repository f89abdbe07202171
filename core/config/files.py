"""Run configurations in and out: TOML, flags, and errors that name file, key, line and way out."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from core.config.errors import InputError
from core.config.names import undecoded
from core.config.schema import SECTIONS, RunConfig, section_fields

OLD_NAMES: Mapping[str, str] = {
    "model_name_or_path": "model.name_or_path",
    "base_model": "model.name_or_path",
    "model": "model.name_or_path",
    "data": "data.files",
    "model_revision": "model.revision",
    "torch_dtype": "model.dtype",
    "use_bnb_nested_quant": "quantization.bnb_4bit_use_double_quant",
    "lora_r": "adapter.r",
    "lora_target_modules": "adapter.target_modules",
    "max_seq_length": "data.max_length",
    "sequence_len": "data.max_length",
    "dataset": "data.files",
    "evaluation_strategy": "evaluate.eval_strategy",
    "warmup_ratio": "train.warmup_steps",
    "gradient_checkpointing": "train.activation_checkpointing",
    "num_epochs": "train.num_train_epochs",
    "micro_batch_size": "train.per_device_train_batch_size",
    "run_name": "run.name",
    "output_dir": "run.name",
}
"""Names that guides and other programs use for settings of ours."""


@dataclass(frozen=True)
class Loaded:
    """A configuration and what there is to say about how it was read."""

    config: RunConfig
    notices: tuple[str, ...] = ()


@dataclass
class _Source:
    """Where values come from, so that an error can point there."""

    label: str
    text: str = ""
    notices: list[str] = field(default_factory=list)

    def place(self, section: str, key: str) -> str:
        line = _line_of(self.text, section, key) if self.text else None
        return f"{self.label}:{line}" if line else self.label


def load(path: Path, overrides: Mapping[str, str] | None = None) -> Loaded:
    """Read a run configuration from a TOML file, then apply ``section.field`` overrides.

    Raises InputError for a missing file, broken TOML, unknown keys and values out of range.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the configuration {path}: {_reason(error)}", kind="no_config"
        ) from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}", kind="bad_toml") from error
    source = _Source(str(path), text)
    values = _known(table, source)
    return _build(values, overrides or {}, source)


def from_overrides(overrides: Mapping[str, str]) -> Loaded:
    """Build a configuration from flags alone."""
    return _build({}, overrides, _Source("command line"))


def apply(config: RunConfig, overrides: Mapping[str, str]) -> Loaded:
    """Apply ``section.field`` overrides to a configuration that is there already."""
    return _build(config.model_dump(), overrides, _Source("command line"))


def dump(config: RunConfig) -> str:
    """The configuration as TOML, each section under its heading; unset options are left out."""
    import tomlkit  # only writing needs it; the screen starts without it

    document = tomlkit.document()
    document.add(tomlkit.comment("finetui run configuration; the reference is docs/config.md"))
    for section in SECTIONS:
        table = tomlkit.table()
        for key, value in getattr(config, section).model_dump().items():
            if value is not None:
                table.add(key, value)
        document.add(section, table)
    return tomlkit.dumps(document)


def coerce(info: FieldInfo, text: str) -> Any:
    """A flag's or form field's text as a Python value for pydantic to check.

    An empty text or ``none`` means unset where the field allows it. The words for switches
    (yes/no, on/off) are left to pydantic.
    """
    stripped = text.strip()
    if type(None) in get_args(info.annotation) and stripped.lower() in ("", "none"):
        return None
    kinds = (info.annotation, *get_args(info.annotation))
    if stripped.startswith("[") and any(get_origin(kind) is list for kind in kinds):
        return _toml_list(stripped)
    return stripped


def check_value(section: str, key: str, text: str) -> str | None:
    """Why ``text`` cannot stand in this field, in one sentence; None when it can.

    Only the field itself is checked, so that a form can call this at every key press.
    """
    model = type(getattr(RunConfig(), section))
    try:
        model(**{key: coerce(section_fields(section)[key], text)})
    except ValidationError as error:
        # What fields say against each other is not for here: the others have their defaults.
        relevant = [e for e in error.errors() if e["loc"] and e["loc"][0] == key]
        return _sentence(section_fields(section)[key], relevant[0]) if relevant else None
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like a mistyped one, if any is close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _known(table: Mapping[str, Any], source: _Source) -> dict[str, dict[str, Any]]:
    """Sort a parsed file into sections; translate old names; refuse unknown ones."""
    values: dict[str, dict[str, Any]] = {}
    for name, content in table.items():
        if name in SECTIONS and isinstance(content, dict):
            for key, value in content.items():
                _place(values, source, name, key, value)
        elif name in SECTIONS and name not in OLD_NAMES:
            raise InputError(
                f"{source.place('', name)}: {name} is a section: write [{name}] and its settings "
                "below it",
                kind="unknown_key",
            )
        elif name in OLD_NAMES:
            _place(values, source, "", name, content)
        else:
            home = [s for s in SECTIONS if name in section_fields(s)]
            section, key = (name, "") if isinstance(content, dict) else ("", name)
            where = source.place(section, key)
            hint = f"; it belongs under [{home[0]}]" if home else _hint(name, SECTIONS)
            raise InputError(
                f"{where}: unknown section or key {name!r}{hint}",
                kind="unknown_key",
            )
    return values


def _place(
    values: dict[str, dict[str, Any]], source: _Source, section: str, key: str, value: Any
) -> None:
    if section and key in section_fields(section):
        values.setdefault(section, {})[key] = value
        return
    if key in OLD_NAMES:
        new_section, new_key = OLD_NAMES[key].split(".")
        values.setdefault(new_section, {})[new_key] = value
        source.notices.append(
            f"{source.place(section, key)}: {key} is called {new_section}.{new_key} here; taken so"
        )
        return
    others = [f"{s}.{key}" for s in SECTIONS if key in section_fields(s)]
    hint = f"; did you mean {others[0]}?" if others else _hint(key, section_fields(section))
    raise InputError(
        f"{source.place(section, key)}: unknown key {key!r} in [{section}]{hint}",
        kind="unknown_key",
    )


def _build(values: dict[str, Any], overrides: Mapping[str, str], source: _Source) -> Loaded:
    merged = {section: dict(values.get(section, {})) for section in SECTIONS}
    flags = _Source("command line", notices=source.notices)
    for name, text in overrides.items():
        if undecoded(text):
            raise InputError(
                f"command line: {name} is {undecoded(text)}, which is not UTF-8",
                kind="bad_value",
                remedies=("rename the file or folder in UTF-8, and name it so",),
            )
        section, _, key = name.rpartition(".")
        if section and section not in SECTIONS:
            raise InputError(
                f"unknown section {section!r} in --{name}{_hint(section, SECTIONS)}",
                kind="unknown_key",
            )
        target: dict[str, dict[str, Any]] = {}
        _place(target, flags, section, key, text) if section else _flat(target, flags, key, text)
        for new_section, pairs in target.items():
            for new_key, raw in pairs.items():
                merged[new_section][new_key] = coerce(section_fields(new_section)[new_key], raw)
    try:
        return Loaded(RunConfig.model_validate(merged), tuple(source.notices))
    except ValidationError as error:
        raise InputError(_explain(error, source, overrides), kind="bad_value") from error


def _flat(target: dict[str, dict[str, Any]], source: _Source, key: str, text: str) -> None:
    """A flag without its section, such as ``--learning_rate``: taken where one section fits."""
    homes = [s for s in SECTIONS if key in section_fields(s)]
    if len(homes) > 1:
        raise InputError(
            f"--{key} stands in several sections: write "
            + " or ".join(f"--{home}.{key}" for home in homes),
            kind="unknown_key",
        )
    if homes:
        target[homes[0]] = {key: text}
        return
    if key in OLD_NAMES:
        _place(target, source, "", key, text)
        return
    names = [f"{s}.{k}" for s in SECTIONS for k in section_fields(s)]
    found = nearest(key, [name.split(".")[1] for name in names])
    hint = next((f"; did you mean --{n}?" for n in names if found and n.endswith("." + found)), "")
    raise InputError(f"unknown option --{key}{hint}", kind="unknown_key")


def _explain(error: ValidationError, source: _Source, overrides: Mapping[str, str]) -> str:
    lines = []
    for item in error.errors():
        section = str(item["loc"][0])
        key = str(item["loc"][1]) if len(item["loc"]) > 1 else ""
        where = source.place(section, key)
        if f"{section}.{key}" in overrides or key in overrides:
            where = "command line"
        if not key:
            lines.append(f"{where}: [{section}] {_plain(item['msg'])}")
            continue
        lines.append(f"{where}: {section}.{key} {_sentence(section_fields(section)[key], item)}")
    return "\n".join(dict.fromkeys(lines))


def _sentence(info: FieldInfo, item: Any) -> str:
    """One pydantic error in plain words, with the value and what is allowed."""
    value = item.get("input")
    choices = choices_of(info)
    if choices and not isinstance(value, (dict, list)):
        close = nearest(str(value), choices)
        hint = f"; did you mean {close}?" if close else ""
        return f"is {value!r}, but must be one of {', '.join(choices)}{hint}"
    if item["type"].endswith(("_parsing", "_type", "_from_float")):
        return f"is {value!r}, but must be {_wanted(info)}"
    return f"is {value!r}: {_plain(item['msg'])}"


def _wanted(info: FieldInfo) -> str:
    """What a field takes, in words: ``a whole number from 1 to 1024``."""
    kinds = (info.annotation, *get_args(info.annotation))
    if bool in kinds:
        return "yes or no"
    if int not in kinds and float not in kinds:
        return "a text" if str in kinds else "a list of names"
    limits = {
        name: getattr(limit, name)
        for limit in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    shown = {k: f"{v:,}" if isinstance(v, int) else f"{v:g}" for k, v in limits.items()}
    told = [f"{words[name]} {shown[name]}" for name in words if name in limits]
    return " ".join(["a whole number" if int in kinds else "a number", *told])


def choices_of(info: FieldInfo) -> tuple[str, ...]:
    """The allowed words of a field that has a fixed set, else an empty tuple."""
    values = get_args(info.annotation)
    return values if values and all(isinstance(v, str) for v in values) else ()


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return text[:1].lower() + text[1:]


def _hint(name: str, known: Iterable[str]) -> str:
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else f"; known: {', '.join(known)}"


def _line_of(text: str, section: str, key: str) -> int | None:
    """The line in which a key of a section stands (a plain scan; enough to point at it)."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        heading = re.match(r"\s*\[([\w.\-]+)\]", line)
        if heading:
            current = heading.group(1)
            if not key and current == section:
                return number
        elif re.match(rf"\s*(?:{re.escape(section)}\.)?\"?{re.escape(key)}\"?\s*=", line) and (
            current == section or (not current and f"{section}." in line)
        ):
            return number
    return None


def _toml_list(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
