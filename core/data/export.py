"""Write the rows that are kept, as they were cleaned, to a new file: jsonl or parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from core.config.errors import FailedError, InputError, RefusedError
from core.data.chats.formats import Chat

SUFFIXES = (".jsonl", ".parquet")
_BATCH = 1000


def write_rows(
    path: Path, chats: Iterable[Chat], on_rows: Callable[[int], None] | None = None
) -> int:
    """Write chats to a new file; returns how many. ``on_rows`` may raise to end it.

    The file is there when all of it is, else not at all. Raises InputError for a kind of file
    that is not written, RefusedError when the file is there already.
    """
    check_path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write = _jsonl if path.suffix.lower() == ".jsonl" else _parquet
    try:
        count = write(temporary, map(row_of, chats), on_rows or (lambda _: None))
        temporary.replace(path)
    except OSError as error:
        raise FailedError(
            f"cannot write {path}: {error.strerror or error}; nothing of it was kept",
            kind="not_written",
            remedies=("name a file on a disk with room, in a folder that can be written to",),
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def check_path(path: Path) -> None:
    """Raise InputError for a name that cannot be written, RefusedError for one that is taken."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"cannot write {path.name or path}: its name must end in {' or '.join(SUFFIXES)}",
            kind="bad_name",
        )
    try:
        taken, folder = path.exists(), path.parent.is_dir()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {path}: {why}", kind="bad_name") from error
    if taken:
        raise RefusedError(
            f"{path} is there already", kind="file_exists", remedies=("choose another name",)
        )
    if not folder:
        raise InputError(
            f"there is no folder {path.parent}", kind="bad_name", remedies=("make it first",)
        )


def row_of(chat: Chat) -> dict[str, Any]:
    """A chat as a row that is read back as the same chat."""
    if len(chat) == 1 and chat[0]["role"] == "text":
        return {"text": chat[0]["content"]}
    first: dict[str, Any] = dict(chat[0]) if chat else {}
    tools = first.pop("tools", None)
    row: dict[str, Any] = {"messages": [first, *chat[1:]]}
    return row | ({"tools": tools} if tools else {})


def _jsonl(path: Path, rows: Iterable[dict[str, Any]], told: Callable[[int], None]) -> int:
    count = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            if count % _BATCH == 0:
                told(count)
        file.flush()
        os.fsync(file.fileno())
    return count


def _parquet(path: Path, rows: Iterable[dict[str, Any]], told: Callable[[int], None]) -> int:
    """One column a field, all of them texts; turns and tools are JSON inside of theirs where a
    table cannot hold their shapes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    turn = pa.struct([(name, pa.string()) for name in _TURN])
    schema = pa.schema([("messages", pa.list_(turn)), ("text", pa.string()),
                        ("tools", pa.string())])  # fmt: skip
    count = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with pq.ParquetWriter(file, schema) as writer:
            batch: list[dict[str, Any]] = []
            for row in rows:
                batch.append(_flat(row))
                if len(batch) == _BATCH:
                    count += len(batch)
                    writer.write_table(pa.Table.from_pylist(batch, schema))
                    told(count)
                    batch = []
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
        file.flush()
        os.fsync(file.fileno())
    return count


_TURN = ("role", "content", "name", "tool_call_id", "reasoning_content", "tool_calls")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {key: [_texts(turn) for turn in value] if key == "messages" else _text(value)
            for key, value in row.items()}  # fmt: skip


def _texts(turn: dict[str, Any]) -> dict[str, str | None]:
    return {key: _text(value) for key, value in turn.items()}


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
