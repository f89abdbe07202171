"""What is to be known of a data set in tokens, in numbers."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.data.tokens.encoded import Encoded

if TYPE_CHECKING:
    from core.data.survey import Survey

Numbers = npt.NDArray[Any]


class TokenStats:
    """Sums over encoded rows. ``lengths`` are tokens before the cut to the longest row."""

    def __init__(self) -> None:
        self.rows = 0
        self.tokens = 0
        self.loss_tokens = 0
        self.truncated = 0
        self.stop_trained = 0
        self._lengths = array("I")

    @classmethod
    def of(cls, survey: Survey) -> TokenStats:
        """The kept rows of a survey that counted tokens."""
        stats, kept = cls(), survey.kept
        lengths, used = survey.tokens[kept], survey.tokens_used[kept]
        stats.rows = len(kept)
        stats.tokens = int(used.sum())
        stats.loss_tokens = int(survey.loss_tokens[kept].sum())
        stats.truncated = int((used < lengths).sum())
        stats.stop_trained = int(survey.stop_trained[kept].sum())
        stats._lengths = array("I", lengths.astype(np.uint32).tobytes())
        return stats

    def add(self, encoded: Encoded) -> None:
        self.rows += 1
        self.tokens += encoded.length
        self.loss_tokens += encoded.loss_tokens
        self.truncated += encoded.truncated
        self.stop_trained += encoded.stop_trained
        self._lengths.append(encoded.full_length)

    @property
    def lengths(self) -> Numbers:
        return np.asarray(self._lengths)

    def as_dict(self) -> dict[str, object]:
        """Plain values for a report; ``lengths`` is None without rows."""
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "loss_tokens": self.loss_tokens,
            "truncated": self.truncated,
            "stop_token_trained_rows": self.stop_trained,
            "lengths": spread(self.lengths),
        }


def spread(values: Numbers) -> dict[str, float] | None:
    """How numbers spread: smallest, median, 95th percentile and largest; None without any.

    The 95th percentile is a number that occurs, and 95 of 100 are not larger.
    """
    if not len(values):
        return None
    return {
        "min": int(values.min()),
        "median": float(np.median(values)),
        "p95": int(np.percentile(values, 95, method="inverted_cdf")),
        "max": int(values.max()),
    }


def histogram(values: Numbers) -> dict[str, list[int]]:
    """How many numbers lie between two edges, each about twice as wide as the one before.

    ``counts[n]`` are those from ``edges[n]`` up to, and without, ``edges[n + 1]``.
    """
    top = int(values.max()) if len(values) else 0
    edges = [0] + [1 << power for power in range(top.bit_length() + 1)]
    counts, _ = np.histogram(values, bins=edges)
    return {"edges": edges, "counts": [int(count) for count in counts]}
