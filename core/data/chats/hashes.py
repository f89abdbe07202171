"""Hashes of chats: equal ones are equal rows, whatever format and file they come from."""

from __future__ import annotations

import hashlib
import json
import unicodedata

from core.data.chats.chat import Chat

HEADS = {role: f"\0{role}\0" for role in ("system", "user", "assistant", "tool", "text")}


def fingerprint(chat: Chat) -> bytes:
    """Hash of the whole chat; space around a turn and the way accents are composed do not count."""
    return keys(chat)[0]


def keys(chat: Chat) -> tuple[bytes, bytes]:
    """Two hashes of a chat: as ``fingerprint``, and of the chat as it stands."""
    parts: list[str] = []
    plain = True  # what nearly all rows are, and a third of the cost
    for message in chat:
        content = message["content"]
        parts.append(HEADS[message["role"]])
        parts.append(content)
        if len(message) > 2 or content != content.strip():
            plain = False
            break
    text = "".join(parts)
    if plain and text.isascii() and text.count("\0") == 2 * len(chat):
        exact = hashlib.sha256(text.encode()).digest()[:16]
        return exact, exact
    contents = [message["content"] for message in chat]
    trimmed = [unicodedata.normalize("NFC", content.strip()) for content in contents]
    exact = _hash(chat, contents)
    return exact if trimmed == contents else _hash(chat, trimmed), exact


def _hash(chat: Chat, contents: list[str]) -> bytes:
    """Hash of a chat with these contents. Equal for equal chats only: what a role, its content and
    all else of a turn are is told by NUL characters, which are escaped where content has them."""
    parts: list[str] = []
    for message, content in zip(chat, contents, strict=True):
        parts += (HEADS[message["role"]], content.replace("\0", "\0\1"))
        if len(message) > 2:
            rest = {k: v for k, v in message.items() if k not in ("role", "content")}
            parts += ("\0\2", json.dumps(rest, sort_keys=True))
    return hashlib.sha256("".join(parts).encode()).digest()[:16]
