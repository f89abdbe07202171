"""From frozen rows to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch

_Row = Mapping[str, Sequence[int]]

IGNORED = -100
"""Label of a token that carries no loss."""

_NEARLY = 0.9
"""A piece that fills this part of ``full`` is filled up."""
_FILLER = 256
"""Longest document of padding: attention costs the square of it."""


@dataclass(frozen=True)
class Collator:
    """Pads rows at their end to one length.

    Padding starts its position_ids at 0 again, which makes it a document of its own: with no
    attention_mask in the batch, attention keeps documents apart by exactly these restarts.
    """

    pad_token_id: int

    def __call__(self, rows: Sequence[_Row]) -> dict[str, Any]:
        """``input_ids``: int64 of shape (rows, longest), and ``position_ids`` where they matter.

        A batch in which every row is one document goes without them. Its padding comes last, where
        causal attention hides it anyway, and attention takes its fastest kernel, without a mask.

        ``targets`` are the labels that carry loss and ``rows`` the places that predict them, in
        the flattened batch: each is one place before its label. ``tokens`` (padding not counted)
        and ``label_tokens`` are plain counts. All of this is known here without asking a GPU.
        """
        longest = max(len(row["input_ids"]) for row in rows)
        packed = any(0 in row["position_ids"][1:] for row in rows)
        input_ids, position_ids = [], []
        places: list[int] = []
        targets: list[int] = []
        for number, row in enumerate(rows):
            short = longest - len(row["input_ids"])
            input_ids.append([*row["input_ids"], *[self.pad_token_id] * short])
            position_ids.append([*row["position_ids"], *range(short)])
            for place, label in enumerate(row["labels"][1:]):
                if label != IGNORED:
                    places.append(number * longest + place)
                    targets.append(label)
        return {
            "input_ids": torch.tensor(input_ids),
            **({"position_ids": torch.tensor(position_ids)} if packed else {}),
            "rows": torch.tensor(places, dtype=torch.int64),
            "targets": torch.tensor(targets, dtype=torch.int64),
            "tokens": sum(len(row["input_ids"]) for row in rows),
            "label_tokens": len(targets),
        }


@dataclass(frozen=True)
class FlatCollator:
    """Puts all documents of a piece one after the other: no padding at all. A batch is pieces.

    For the fused path. Some tokens without loss at the end round a piece's length up to a
    ``multiple``, which matrix products like, or to ``full`` where little is missing: passes of one
    shape are launched as one.
    """

    pad_token_id: int
    full: int
    """Tokens that a piece may have. Rows come in their order; one that is longer stands alone."""
    multiple: int = 64

    def __call__(self, rows: Sequence[_Row]) -> dict[str, Any]:
        """``pieces`` with, each, ``input_ids`` and ``position_ids``: int64 of shape (T,).

        ``lengths`` of the documents and their ``ends`` (int32, from 0) say where attention stops;
        ``rows``, ``targets``, and beside the pieces ``tokens`` and ``label_tokens`` of all of them
        are as in ``Collator``.
        """
        pieces = [self._piece(group) for group in self._groups(rows)]
        return {
            "pieces": pieces,
            "tokens": sum(len(row["input_ids"]) for row in rows),
            "label_tokens": sum(len(piece["targets"]) for piece in pieces),
        }

    def _groups(self, rows: Sequence[_Row]) -> list[list[_Row]]:
        groups: list[list[_Row]] = []
        room = 0
        for row in rows:
            tokens = len(row["input_ids"])
            if not groups or tokens > room:
                groups.append([])
                room = self.full
            groups[-1].append(row)
            room -= tokens
        return groups

    def _piece(self, rows: Sequence[_Row]) -> dict[str, Any]:
        input_ids: list[int] = []
        lengths: list[int] = []
        places: list[int] = []
        targets: list[int] = []
        for row in rows:
            begin = len(input_ids)
            input_ids += row["input_ids"]
            starts = [n for n, position in enumerate(row["position_ids"]) if position == 0]
            lengths += [b - a for a, b in pairwise([*starts, len(row["input_ids"])])]
            for place, label in enumerate(row["labels"][1:], begin):
                if label != IGNORED:
                    places.append(place)
                    targets.append(label)
        tokens = len(input_ids)
        nearly = self.full * _NEARLY <= tokens <= self.full
        fill = self.full - tokens if nearly else -tokens % self.multiple
        input_ids += [self.pad_token_id] * fill
        lengths += [min(_FILLER, fill - at) for at in range(0, fill, _FILLER)]
        return {
            "input_ids": torch.tensor(input_ids),
            "position_ids": torch.cat([torch.arange(length) for length in lengths]),
            "lengths": lengths,
            "ends": torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
            "rows": torch.tensor(places, dtype=torch.int64),
            "targets": torch.tensor(targets, dtype=torch.int64),
        }
