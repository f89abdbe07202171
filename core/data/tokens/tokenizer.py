"""A model's tokenizer files, read as transformers reads them, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from core.config.errors import InputError
from core.config.hub import model_file
from core.data.tokens.template import FALLBACK, ChatTemplate

_NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def load_parts(
    name_or_path: str, revision: str | None = None
) -> tuple[Tokenizer, ChatTemplate, dict[str, str]]:
    """Tokenizer, chat template and named special tokens of a model.

    Raises InputError when a file is missing or broken.
    """
    path = model_file(name_or_path, "tokenizer.json", revision)
    if path is None:
        raise InputError(
            f"{name_or_path} has no tokenizer.json",
            kind="no_tokenizer",
            remedies=(
                "load it once with transformers' AutoTokenizer and save_pretrained it: "
                "that writes tokenizer.json",
            ),
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception for every broken file
        raise InputError(f"{path} is broken: {error}", kind="no_tokenizer") from error
    settings = _json(model_file(name_or_path, "tokenizer_config.json", revision))
    if "added_tokens_decoder" not in settings:
        settings |= _json(model_file(name_or_path, "special_tokens_map.json", revision))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    named = _named(settings)
    _add_missing(tokenizer, settings, named)
    template = _template(name_or_path, revision, settings, named)
    return tokenizer, template, named


def _json(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is broken: {error}", kind="no_tokenizer") from error
    return value if isinstance(value, dict) else {}


def _named(settings: Mapping[str, Any]) -> dict[str, str]:
    """The named special tokens of a tokenizer configuration, as plain text."""
    named = {}
    for key in (f"{name}_token" for name in _NAMED):
        value = settings.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            named[key] = text
    return named


def _add_missing(
    tokenizer: Tokenizer, settings: Mapping[str, Any], named: Mapping[str, str]
) -> None:
    """Add the tokens that the configuration has and ``tokenizer.json`` has not, or otherwise."""
    known = {repr(token) for token in tokenizer.get_added_tokens_decoder().values()}
    fields = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    for _, entry in sorted(
        (settings.get("added_tokens_decoder") or {}).items(), key=lambda item: int(item[0])
    ):
        token = AddedToken(**{key: entry[key] for key in fields if key in entry})
        if repr(token) not in known:
            tokenizer.add_tokens([token])
    present = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    missing = [name for name in dict.fromkeys(named.values()) if name not in present]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in missing])


def _template(
    name_or_path: str, revision: str | None, settings: Mapping[str, Any], named: Mapping[str, str]
) -> ChatTemplate:
    path = model_file(name_or_path, "chat_template.jinja", revision)
    if path is not None:
        apart = model_file(name_or_path, "additional_chat_templates/tool_use.jinja", revision)
        tool_source = None if apart is None else apart.read_text(encoding="utf-8")
        source = path.read_text(encoding="utf-8")
        return ChatTemplate(source, named, "chat_template.jinja", tool_source)
    found, tool_source = settings.get("chat_template"), None
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}
    if isinstance(found, dict):
        tool_source = found.get("tool_use")
        found = found.get("default")
    if isinstance(found, str) and found:
        return ChatTemplate(found, named, "tokenizer_config.json", tool_source)
    return ChatTemplate(FALLBACK, named, "finetui's plain template: the model has none")
