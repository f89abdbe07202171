"""Dropout of adapters without stored masks: a hash of place and seed decides, twice the same.

One 32-bit number is drawn for each element; every linear that reads it takes ten bits of its own,
so the part that is dropped is the nearest 1024th, some and not all. The seed lies on the device, so
that launches which were recorded once see a new one each time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

FIELD_BITS = 10
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Mask:
    """What is dropped of one input. ``salt`` (31 bits) tells layers and inputs apart."""

    part: float
    seed: torch.Tensor
    """int64 scalar below 2^32, new for each pass."""
    salt: int = 0

    def at(self, *place: int) -> Mask:
        """The mask of one place in the model: layer, group of linears, first token."""
        salt = self.salt
        for number in place:
            salt = (salt * 0x01000193 + number + 1) & 0x7FFFFFFF
        return Mask(self.part, self.seed, salt)

    @property
    def threshold(self) -> int:
        """How many of 1024 elements are dropped: some, and not all."""
        return min(max(1, round(self.part * (1 << FIELD_BITS))), (1 << FIELD_BITS) - 1)

    @property
    def scale(self) -> float:
        """What makes up for the dropped ones."""
        return 1 / (1 - self.threshold / (1 << FIELD_BITS))


def keep(x: torch.Tensor, number: int, mask: Mask) -> torch.Tensor:
    """Factors for ``x`` (T, K) as the linear ``number`` sees it: 0, or ``mask.scale``."""
    place = torch.arange(x.numel(), dtype=torch.int64, device=x.device).view(x.shape)
    return torch.where(kept_at(place, number, mask), mask.scale, 0.0).to(x.dtype)


def kept_at(place: torch.Tensor, number: int, mask: Mask) -> torch.Tensor:
    """Whether elements are kept, by their places in a row-wise count from 0, int64.

    Kernels count in 32 bits: a mask begins again after 2^32 places, which are a million tokens of
    a width of 4096.
    """
    key = (mask.seed + mask.salt) & _WORD
    bits = _mixed((_mixed((place & _WORD) ^ key) + 0x9E3779B9 * key) & _WORD)
    field = (bits >> (FIELD_BITS * number)) & ((1 << FIELD_BITS) - 1)
    return field >= mask.threshold


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """A 32-bit hash (Wellons' lowbias32) on int64 numbers below 2^32."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _WORD
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _WORD
    return x ^ (x >> 16)
