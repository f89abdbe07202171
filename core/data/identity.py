"""The fingerprint of prepared data: one hash over content, rules, template and tokenizer.

Where the rows came from does not count: the same chats in another format or file are the same
data, and have the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from core.config.schema import RunConfig
from core.data.tokens.codec import ChatCodec

_SOURCES = frozenset({"files", "eval_files", "format", "columns", "overlay", "hub_sample_rows"})
"""Settings that say where chats come from: what they come to is in the content's hash."""


def fingerprint_of(
    config: RunConfig, content_sha256: str, codec: ChatCodec | None, eval_sha256: str = ""
) -> dict[str, str | None]:
    """The fingerprint and the four parts of it, so that a difference can be told.

    Template and tokenizer are None where no model was chosen.
    """
    content = _hash(content_sha256 + eval_sha256) if eval_sha256 else content_sha256
    parts: dict[str, str | None] = {
        "content": content,
        "rules": _hash(json.dumps(rules_of(config), sort_keys=True)),
        "template": _hash(codec.template.source) if codec else None,
        "tokenizer": _hash(codec.tokenizer.to_str()) if codec else None,
    }
    return {"sha256": _hash(json.dumps(parts, sort_keys=True)), **parts}


def rules_of(config: RunConfig) -> dict[str, Any]:
    """The settings that decide what becomes of a chat."""
    values = config.model_dump(mode="json")
    data = {name: value for name, value in values["data"].items() if name not in _SOURCES}
    return {"data": data, "clean": values.get("clean", {})}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
