"""CUDA graphs: a pass of the same shape launches a thousand kernels with one call.

Below some 8,000 tokens a pass the host takes longer to launch them than the GPU to run them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

_SHAPES = 4
"""Shapes that are recorded."""
_LITTLE = 1 << 30
"""With less free memory, what is launched as it is gets that of the recorded ones."""


class Graphs:
    """Runs launches as they are the first time, records them the second, then replays.

    Tensors from outside that the launches touch must stay where they are; ``forget`` when one has
    moved. What they take and let go of lies in memory that only replays can use. Launches must be
    run in the order in which they were recorded.
    """

    def __init__(self, *, enabled: bool):
        self._enabled = enabled
        self._recorded: dict[Hashable, torch.cuda.CUDAGraph | None] = {}
        self._pool = torch.cuda.graph_pool_handle() if enabled else None

    def knows(self, key: Hashable) -> bool:
        """Whether launches with this key are replayed, or would be recorded the next time."""
        return key in self._recorded

    def run(self, key: Hashable | None, launch: Callable[[], None]) -> None:
        """Do what ``launch`` does, by replaying it where ``key`` was seen before."""
        if not self._enabled or key is None:
            if any(self._recorded.values()) and torch.cuda.mem_get_info()[0] < _LITTLE:
                self.forget()
            launch()
        elif key not in self._recorded:
            if len(self._recorded) < 2 * _SHAPES:
                self._recorded[key] = None
            launch()
        else:
            graph = self._recorded[key] or self._record(key, launch)
            graph.replay()

    def forget(self) -> None:
        """Record anew, and give the memory back: others moved, or what comes needs as much."""
        if any(self._recorded.values()):
            torch.cuda.synchronize()  # what is replayed at this moment still works in it
            self._pool = torch.cuda.graph_pool_handle()
        self._recorded.clear()

    def _record(self, key: Hashable, launch: Callable[[], None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as the data loader's, may go on using CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            launch()
        self._recorded[key] = graph
        return graph
