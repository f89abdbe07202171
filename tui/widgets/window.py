"""Which part of the x axis is shown: all of it, or a stretch that may stick to its newest point."""

from __future__ import annotations

from dataclasses import dataclass

_LEAST_SPAN = 2.0  # steps or seconds


@dataclass
class Window:
    """Zoom and pan along x. `span` None: all of it. `right` None: follows the newest point."""

    span: float | None = None
    right: float | None = None

    @property
    def zoomed(self) -> bool:
        return self.span is not None

    def reset(self) -> None:
        """Show everything again."""
        self.span = self.right = None

    def visible(self, low: float, high: float, tail: float) -> tuple[float, float]:
        """The ends shown, of an axis from `low` to `high` whose newest point is at `tail`."""
        if self.span is None:
            return low, high
        right = min(tail if self.right is None else self.right, high)
        right = max(right, min(low + self.span, high))
        return max(low, right - self.span), right

    def zoom(
        self, factor: float, low: float, high: float, tail: float, centre: float | None
    ) -> None:
        """Make the stretch `factor` times as long: around `centre`, else from its right end."""
        x0, x1 = self.visible(low, high, tail)
        span = max(_LEAST_SPAN, (x1 - x0) * factor)
        if span >= high - low:
            self.reset()
            return
        if centre is not None:
            share = (centre - x0) / (x1 - x0) if x1 > x0 else 0.5
            self._stand(centre + (1 - share) * span, span, low, tail)
        elif self.span is None:
            self.span, self.right = span, None
        else:
            self.span = span

    def pan(self, share: float, low: float, high: float, tail: float) -> None:
        """Move by a share of the stretch, to the right if positive; at the end it follows again."""
        if self.span is not None:
            _, right = self.visible(low, high, tail)
            self._stand(right + share * self.span, self.span, low, tail)

    def _stand(self, right: float, span: float, low: float, tail: float) -> None:
        self.span = span
        self.right = None if right >= tail else max(right, low + span)
