"""What a survey knows of each row: arrays with one entry a row, and the words they number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.blocks import COLUMNS, Block, Words

Array = npt.NDArray[Any]

_COLUMNS = COLUMNS | {"file": np.uint16, "origin": np.int32}
_WORDS = {"reason": "reason", "late_reason": "reason", "format": "format", "roles": "roles",
          "group": "group"}  # fmt: skip
"""Columns that number words, and the list that they number."""
_ROOM = 1024


class Ledger:
    """The arrays grow ahead of the rows; who reads them cuts them to the rows that there are.

    ``keys`` are what duplicates are told by, ``contents`` the chats as they stand: 16 bytes a row.
    """

    def __init__(self) -> None:
        self.columns: dict[str, Array] = {name: np.zeros(_ROOM, t) for name, t in _COLUMNS.items()}
        self.keys = np.zeros(_ROOM, "V16")
        self.contents = np.zeros(_ROOM, "V16")
        self.words = {
            "reason": Words(["kept"]), "note": Words(), "format": Words(), "roles": Words([""]),
            "group": Words([""]),
        }  # fmt: skip

    def make_room(self, count: int) -> None:
        """Have room for so many rows."""
        self.keys, self.contents = _grown(self.keys, count), _grown(self.contents, count)
        for name, column in self.columns.items():
            self.columns[name] = _grown(column, count)

    def put(self, rows: slice | Array, block: Block, *, without: tuple[str, ...] = ()) -> None:
        """Take in what a block says of these rows, but for some columns."""
        for name, values in block.columns.items():
            if name not in without:
                self.columns[name][rows] = self._translated(name, values, block)
        self.keys[rows], self.contents[rows] = block.keys, block.contents

    def _translated(self, name: str, values: Array, block: Block) -> Array:
        """A block's numbers for reasons and the like as numbers of the whole survey."""
        if name == "flags":
            flags = np.zeros_like(values)
            for bit, note in enumerate(block.notes):
                has = (values >> np.uint64(bit)) & np.uint64(1)
                flags |= has << np.uint64(self.words["note"].number(note))
            return flags
        if name not in _WORDS:
            return values
        words = self.words[_WORDS[name]]
        names = {"reason": block.reasons, "format": block.formats, "roles": block.roles,
                 "group": block.groups}[_WORDS[name]]  # fmt: skip
        numbers = np.array([words.number(word) for word in names], np.int64)
        return numbers[values] if len(numbers) else values


def _grown(column: Array, count: int) -> Array:
    if len(column) >= count:
        return column
    larger = np.zeros(max(count, len(column) * 3 // 2), column.dtype)
    larger[: len(column)] = column
    return larger
