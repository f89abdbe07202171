"""From frozen rows to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORED = -100
"""Label of a token that carries no loss."""


@dataclass(frozen=True)
class Collator:
    """Pads rows at their end to one length.

    Padding starts its position_ids at 0 again, which makes it a document of its own: with no
    attention_mask in the batch, attention keeps documents apart by exactly these restarts.
    """

    pad_token_id: int

    def __call__(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Any]:
        """``input_ids, labels, position_ids``: int64 of shape (rows, longest).

        ``tokens`` and ``label_tokens`` are plain counts, taken here so that nobody has to ask a
        GPU for them: tokens that are not padding, and tokens that carry loss.
        """
        longest = max(len(row["input_ids"]) for row in rows)
        columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": []}
        for row in rows:
            short = longest - len(row["input_ids"])
            columns["input_ids"].append([*row["input_ids"], *[self.pad_token_id] * short])
            columns["labels"].append([*row["labels"], *[IGNORED] * short])
            columns["position_ids"].append([*row["position_ids"], *range(short)])
        return {
            **{name: torch.tensor(values) for name, values in columns.items()},
            "tokens": sum(len(row["input_ids"]) for row in rows),
            # The first token of a row is predicted by nothing.
            "label_tokens": sum(label != IGNORED for row in columns["labels"] for label in row[1:]),
        }
