"""The sizes that estimates are made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.model.shapes import shape_of
from core.model.sizes import dims_of, linears_of


def test_layers_from_the_configuration_are_those_of_the_weights(tiny_model: Path) -> None:
    found = shape_of(str(tiny_model))
    dims = dims_of(found)
    assert dims is not None
    assert found.linears is not None
    assert set(linears_of(replace(found, linears=None), dims)) == set(found.linears)
