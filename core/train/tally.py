"""What a run has counted so far, and must find again after a resume. No torch here."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from core.train.checkpoint import STATE, sync


@dataclass
class Tally:
    """Counts of a run up to an optimizer step, saved with every checkpoint.

    ``window_*`` are the sums since the last point on the curve, so that a curve which is logged
    every few steps does not tell a resume from an uninterrupted run.
    """

    step: int = 0
    total_steps: int = 0
    tokens: int = 0
    """Tokens learned from, padding not counted."""
    best_step: int | None = None
    best_loss: float | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    skipped_in_a_row: int = 0
    micro_batch: int = 0
    """Sequences in one pass, where the fused path chose it."""
    piece: int = 0
    """Sequences that go through a layer together there."""
    mlp_tokens: int = 0
    """Tokens that go through an MLP together there."""
    host_head: bool = False
    """Whether the output head waited in RAM there."""
    light: bool = False
    """Whether residual, queries, keys and values were computed twice there."""
    window_loss: float = 0.0
    window_label_tokens: int = 0
    dtypes: dict[str, str] = field(default_factory=dict)
    """Precision of every trained tensor, which loading would otherwise change."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train."""
        return self.stopped_early or 0 < self.total_steps <= self.step

    def take_evaluation(self, step: int, loss: float, *, threshold: float) -> bool:
        """Note a held-out loss; True when it is the best so far. NaN never is."""
        gained = math.isfinite(loss) and (
            self.best_loss is None or loss < self.best_loss - threshold
        )
        self.evaluations_without_gain = 0 if gained else self.evaluations_without_gain + 1
        better = math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss)
        if better:
            self.best_step, self.best_loss = step, loss
        return better

    def save(self, folder: Path) -> None:
        """Write into a checkpoint."""
        path = folder / STATE
        path.write_text(json.dumps({"schema": 1} | asdict(self), indent=1) + "\n", encoding="utf-8")
        sync(path)

    @classmethod
    def load(cls, checkpoint: Path) -> Tally:
        """Read from a checkpoint that was verified."""
        values = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        known = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})
