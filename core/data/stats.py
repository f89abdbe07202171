"""What is to be known of a data set in tokens, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from core.data.tokens import Encoded


@dataclass
class TokenStats:
    """Sums over encoded rows. ``lengths`` are tokens before the cut to the longest row."""

    rows: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    truncated: int = 0
    stop_trained: int = 0
    lengths: list[int] = field(default_factory=list)

    def add(self, encoded: Encoded) -> None:
        self.rows += 1
        self.tokens += len(encoded.ids)
        self.loss_tokens += encoded.loss_tokens
        self.truncated += encoded.truncated
        self.stop_trained += encoded.stop_trained
        self.lengths.append(encoded.full_length)

    def as_dict(self) -> dict[str, object]:
        """Plain values for a report; ``lengths`` is None without rows."""
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "loss_tokens": self.loss_tokens,
            "truncated": self.truncated,
            "stop_token_trained_rows": self.stop_trained,
            "lengths": self._lengths(),
        }

    def _lengths(self) -> dict[str, float] | None:
        if not self.lengths:
            return None
        values = np.array(self.lengths)
        return {
            "min": int(values.min()),
            "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)),
            "max": int(values.max()),
        }
