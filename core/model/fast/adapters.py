"""All adapter numbers of a model in one piece of memory, and all their gradients in another.

The model's own parameters become views into it, so whoever reads, saves or loads them sees the
same numbers. One norm and one optimizer launch serve all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

Tensor = torch.Tensor


@dataclass(frozen=True)
class Place:
    """Where the adapters of linears with one input lie: A (R, K) and B (N, r), row by row."""

    a: slice
    b: slice
    rank: int
    """r, of each linear."""
    ranks: int
    """R, of all of them."""
    columns: int
    rows: int


class Adapters:
    """The flat memory. ``groups`` holds, for each group of linears, its PEFT layers in order.

    A layer without an adapter (not among the targets) is given as None with its shape beside it;
    its room stays zero, which is what no adapter is.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[tuple[Any | None, int, int]]],
        *,
        rank: int,
        scaling: float,
        device: torch.device,
    ):
        self.scaling = scaling
        self._views: list[tuple[torch.nn.Parameter, slice, torch.Size]] = []
        self.places: list[Place] = []
        a_at, b_at = 0, sum(len(group) * rank * group[0][2] for group in groups)
        for group in groups:
            a_begin, b_begin, columns = a_at, b_at, group[0][2]
            for layer, rows, _ in group:
                if layer is not None:
                    self._take(layer, a_at, b_at, rank, rows, columns)
                a_at += rank * columns
                b_at += rank * rows
            self.places.append(
                Place(
                    slice(a_begin, a_at), slice(b_begin, b_at), rank, rank * len(group), columns,
                    sum(rows for _, rows, _ in group),
                )
            )  # fmt: skip
        self.whole = torch.nn.Parameter(torch.zeros(b_at, dtype=torch.float32, device=device))
        """All numbers as one parameter, for an optimizer that takes one launch for all."""
        self.weights = self.whole.data
        self.grads = torch.zeros_like(self.weights)
        self._grad_views = [self.grads[part].view(shape) for _, part, shape in self._views]

    def _take(self, layer: Any, a: int, b: int, rank: int, rows: int, columns: int) -> None:
        name = layer.active_adapters[0]
        for parameter, at, count in (
            (layer.lora_A[name].weight, a, rank * columns),
            (layer.lora_B[name].weight, b, rank * rows),
        ):
            self._views.append((parameter, slice(at, at + count), parameter.shape))

    def gather(self) -> None:
        """Make the model's parameters views of this memory, with the numbers that they have.

        Cheap when they are already. Loading a checkpoint may have given them other memory.
        """
        # Whoever gives one parameter other memory gives it to all: two are looked at.
        if all(self._here(*self._views[place][:2]) for place in (0, -1)):
            return
        for parameter, part, shape in self._views:
            if not self._here(parameter, part):
                view = self.weights[part].view(shape)
                view.copy_(parameter.data)
                parameter.data = view

    def _here(self, parameter: torch.nn.Parameter, part: slice) -> bool:
        place = self.weights.data_ptr() + part.start * self.weights.element_size()
        return bool(parameter.data_ptr() == place)

    def open_grads(self) -> None:
        """Let the parameters' gradients be views too, from zero where they were cleared."""
        if all(p.grad is not None for p, _, _ in self._views):
            return
        self.grads.zero_()
        self.whole.grad = self.grads
        for (parameter, _, _), view in zip(self._views, self._grad_views, strict=True):
            parameter.grad = view

    def drop_grads(self, set_to_none: bool = True) -> None:
        """No gradients, as ``zero_grad`` leaves a model: the optimizer passes an update over."""
        assert set_to_none
        self.whole.grad = None
        for parameter, _, _ in self._views:
            parameter.grad = None

    def a(self, place: Place) -> Tensor:
        """(R, K)"""
        return self.weights[place.a].view(place.ranks, place.columns)

    def b(self, place: Place) -> Tensor:
        """(N, r), without the scaling."""
        return self.weights[place.b].view(place.rows, place.rank)

    def grad_a(self, place: Place) -> Tensor:
        return self.grads[place.a].view(place.ranks, place.columns)

    def grad_b(self, place: Place) -> Tensor:
        return self.grads[place.b].view(place.rows, place.rank)
