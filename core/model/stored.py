"""What lies in memory all the time of a training: weights, adapters, the optimizer's state.

Counted, not estimated: ``tests/core/model/test_stored.py`` compares it with a loaded model.
"""

from __future__ import annotations

import math

from core.config.schema import RunConfig
from core.model.activations import Dims
from core.model.shapes import Linear, ModelShape

_BLOCK, _OUTER_BLOCK = 64, 256
"""Weights for each absmax of a 4-bit tensor, and absmax values for each of the second level."""
_LEAST_8BIT = 4096
"""Tensors with fewer numbers keep their optimizer state in 32 bit, as bitsandbytes does."""
_STATE_BLOCK = 256


def widths(config: RunConfig, gpu: bool) -> tuple[int, int]:
    """Bytes of an unquantized weight and of an activation. auto is 16 bit on GPUs, else fp32."""

    def width(name: str) -> int:
        return (2 if gpu else 4) if name == "auto" else 4 if name == "float32" else 2

    storage = width(config.model.dtype)
    quantized = config.quantization.load_in_4bit
    return storage, width(config.quantization.bnb_4bit_compute_dtype) if quantized else storage


def linear_bytes(config: RunConfig, layer: Linear, storage: int) -> int:
    """Bytes of a base's layers of one shape as the settings store them, constants included.

    ``storage`` is what an unquantized weight takes.
    """
    wish, size = config.quantization, layer.outputs * layer.inputs
    if layer.expert:
        return size * storage * layer.count
    if wish.load_in_4bit:
        blocks = math.ceil(size / _BLOCK)
        constants = 4 * blocks
        if wish.bnb_4bit_use_double_quant:
            # One byte a block; the blocks of these have a float each, all of them one offset.
            constants = blocks + 4 * math.ceil(blocks / _OUTER_BLOCK)
        return (math.ceil(size / 2) + constants) * layer.count
    if wish.load_in_8bit:
        return (size + 4 * layer.outputs) * layer.count
    return size * storage * layer.count


def ends_bytes(shape: ModelShape, dims: Dims, storage: int) -> tuple[int, int]:
    """Bytes of the output head and of the embedding; a tied head takes none of its own."""
    size = dims.vocab * dims.hidden * storage
    return (0 if shape.tied else size), size


def other_parameters(shape: ModelShape, dims: Dims, layers: tuple[Linear, ...]) -> int:
    """Parameters that are neither linear layers nor embedding nor head: norms and biases."""
    if shape.parameters is None or shape.linears is None:
        return dims.hidden * (2 * dims.layers + 1)
    known = sum(one.outputs * one.inputs * one.count for one in layers)
    ends = dims.vocab * dims.hidden * (1 if shape.tied else 2)
    return max(0, shape.parameters - known - ends)


def _adapter_tensors(config: RunConfig, layer: Linear) -> tuple[int, ...]:
    """Numbers in each tensor that one layer's adapter trains."""
    rank = config.adapter.r
    pair = (rank * layer.inputs, rank * layer.outputs)
    return (*pair, layer.outputs) if config.adapter.use_dora else pair


def adapter_numbers(config: RunConfig, layer: Linear) -> int:
    """Numbers that the adapters of all layers of one shape train."""
    return sum(_adapter_tensors(config, layer)) * layer.count


def optimizer_bytes(config: RunConfig, layer: Linear) -> int:
    """Both moments of Adam for the adapters of all layers of one shape, wherever they are kept."""
    eight_bit = "8bit" in config.train.optim
    total = 0
    for size in _adapter_tensors(config, layer):
        if eight_bit and size >= _LEAST_8BIT:
            total += 2 * (size + 4 * math.ceil(size / _STATE_BLOCK))
        else:
            total += 8 * size
    return total * layer.count


def scratch_bytes(config: RunConfig, layers: tuple[Linear, ...], compute: int) -> int:
    """Bytes of the largest quantized weight, dequantized for one product."""
    if not (config.quantization.load_in_4bit or config.quantization.load_in_8bit):
        return 0
    return compute * max((one.outputs * one.inputs for one in layers if not one.expert), default=0)
