"""Kept chats on disk between two passes, so that memory holds only their places."""

from __future__ import annotations

import json
from bisect import bisect_right
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt
import orjson

from core.data.chats.formats import Chat
from core.data.pipeline import Kept

Array = npt.NDArray[Any]

_OPEN = 64
"""Files that are held open at once."""


def chats_path(folder: Path, number: int) -> Path:
    """The file for the chats of one piece."""
    return folder / f"{number:06d}.chats"


def write_chat(file: IO[bytes], row: Kept) -> int:
    """Write one chat; returns where it begins."""
    place = file.tell()
    try:
        file.write(orjson.dumps(row.chat) + b"\n")
    except (TypeError, ValueError):  # whole numbers beyond 64 bit, in a tool's arguments
        file.write(json.dumps(row.chat).encode() + b"\n")
    return place


class Spool:
    """The chats of a survey by the number of their row."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._firsts: list[int] = []
        self._numbers: list[int] = []
        self._files: dict[int, IO[bytes]] = {}

    def add(self, first: int, number: int) -> None:
        """Rows from ``first`` on are in the file of this piece."""
        self._firsts.append(first)
        self._numbers.append(number)

    def get(self, row: int, place: int) -> Chat:
        """The chat of a row that begins at ``place`` in its file."""
        chat: Chat = json.loads(self._line(row, place))
        return chat

    def text(self, row: int, place: int, limit: int) -> str:
        """The beginning of a row's chat as JSON."""
        return json.dumps(self.get(row, place), ensure_ascii=False)[:limit]

    def close(self) -> None:
        """Close the files and remove them with their folder."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        for number in self._numbers:
            chats_path(self.folder, number).unlink(missing_ok=True)
        self.folder.rmdir()

    def _line(self, row: int, place: int) -> bytes:
        number = self._numbers[bisect_right(self._firsts, row) - 1]
        file = self._files.get(number)
        if file is None:
            if len(self._files) >= _OPEN:
                self._files.pop(next(iter(self._files))).close()
            file = self._files[number] = chats_path(self.folder, number).open("rb")
        file.seek(place)
        return file.readline()
