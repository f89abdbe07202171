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
