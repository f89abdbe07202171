"""What keeps one bad batch from poisoning the adapter, and a bad run from going on unseen."""

from __future__ import annotations

import math

from core.config.errors import FailedError

MOST_IN_A_ROW = 3
"""So many updates may be skipped one after the other before the run is given up."""


class NumberGuard:
    """Decides at every step whether its update may be applied.

    An update with a NaN or infinite gradient would make every adapter value NaN at once, so it is
    skipped: the weights and the optimizer stay as they were.
    """

    def __init__(self, skipped_in_a_row: int = 0):
        self.skipped_in_a_row = skipped_in_a_row

    def judge(self, step: int, loss: float, grad_norm: float) -> str | None:
        """None when the update is sound, else a sentence that says why it is skipped.

        Raises FailedError (kind ``diverged``) when too many were unsound in a row.
        """
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.skipped_in_a_row = 0
            return None
        self.skipped_in_a_row += 1
        what = f"loss {loss:g}, gradient norm {grad_norm:g}"
        if self.skipped_in_a_row >= MOST_IN_A_ROW:
            raise diverged(
                f"{MOST_IN_A_ROW} steps in a row gave no usable update; the last: {what}"
            )
        return f"step {step} gave {what}: its update was skipped, the adapter is unchanged"


def diverged(message: str) -> FailedError:
    """The failure of a training whose numbers are no longer numbers."""
    return FailedError(
        message,
        kind="diverged",
        remedies=(
            "lower train.learning_rate, for example to 5e-5",
            "clip harder: train.max_grad_norm 0.5",
            "look at the rows of the last steps in the data pane",
        ),
    )


def disk_full(step: int, free_bytes: int, needed_bytes: int) -> str:
    """What to say when a checkpoint did not fit on the disk."""
    need = f"about {needed_bytes / 2**20:.0f} MiB are needed, " if needed_bytes else ""
    return (
        f"the checkpoint of step {step} could not be saved: {need}"
        f"{free_bytes / 2**20:.0f} MiB are free. Earlier checkpoints are untouched; training goes "
        "on and the next save tries again. Free some space, or lower train.save_total_limit"
    )
