"""A quantized model of random numbers, made layer by layer on the GPU and never on disk.

Stands in for transformers' ``from_pretrained`` inside finetui's own loader, for models of which
the machine could not hold the 16-bit weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from peers import weights


@contextmanager
def in_place(model: str, seed: int = 0) -> Iterator[None]:
    """Let finetui's loader get a random model of a shape instead of a folder's."""
    from transformers import AutoModelForCausalLM

    from core.model import load

    def made(_: str, **wish: Any) -> tuple[Any, dict[str, Any]]:
        return build(model, wish, seed), {
            "missing_keys": [], "mismatched_keys": [], "error_msgs": [],
        }  # fmt: skip

    with (
        mock.patch.object(AutoModelForCausalLM, "from_pretrained", made),
        # There are no weight files to be looked at.
        mock.patch.object(load, "_check_plain", return_value=None),
    ):
        yield


def build(model: str, wish: dict[str, Any], seed: int) -> Any:
    """The model as ``from_pretrained`` would return it for these arguments."""
    from transformers import AutoModelForCausalLM
    from transformers.quantizers import AutoHfQuantizer

    config = weights.configuration(model)
    places = wish.get("device_map") or {"": "cpu"}
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(
            config, attn_implementation=wish["attn_implementation"], dtype=wish["dtype"]
        )
    quantizer = None
    if wish.get("quantization_config") is not None:
        quantizer = AutoHfQuantizer.from_config(wish["quantization_config"], pre_quantized=False)
        quantizer.preprocess_model(model=made, dtype=wish["dtype"], device_map=places)
    _fill(made, config, places, wish["dtype"], seed)
    made.tie_weights()
    if quantizer is not None:
        made.hf_quantizer = quantizer
        quantizer.postprocess_model(made)
    return made


def _fill(model: Any, config: Any, places: dict[str, Any], dtype: torch.dtype, seed: int) -> None:
    generators: dict[torch.device, torch.Generator] = {}
    for name, module in list(model.named_modules()):
        place = torch.device(_place(name, places))
        if any(key == "inv_freq" for key, _ in module.named_buffers(recurse=False)):
            # Tables of positions are computed, not stored: meta tensors have lost them.
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, type(module)(config=config).to(place))
            continue
        if config.tie_word_embeddings and module is model.get_output_embeddings():
            continue
        generator = generators.setdefault(place, torch.Generator(place).manual_seed(seed))
        for key, parameter in list(module.named_parameters(recurse=False)):
            tensor = weights.tensor_for(
                f"{name}.{key}", _shape(module, key, parameter), config.num_hidden_layers,
                str(place), generator,
            ).to(dtype)  # fmt: skip
            setattr(module, key, _parameter(module, parameter, tensor, place))


def _shape(module: Any, key: str, parameter: Any) -> tuple[int, ...]:
    if key == "weight" and hasattr(module, "out_features"):
        return (module.out_features, module.in_features)
    return tuple(parameter.shape)


def _parameter(module: Any, old: Any, tensor: torch.Tensor, place: torch.device) -> Any:
    if type(old).__name__ != "Params4bit":
        return torch.nn.Parameter(tensor, requires_grad=False)
    return type(old)(
        tensor, requires_grad=False, compress_statistics=old.compress_statistics,
        quant_type=old.quant_type, quant_storage=old.quant_storage, blocksize=old.blocksize,
        module=module,
    ).to(place)  # fmt: skip


def _place(name: str, places: dict[str, Any]) -> Any:
    """The device of a module: that of the longest name in the map which it lies under."""
    under = [key for key in places if not key or name == key or name.startswith(f"{key}.")]
    place = places[max(under, key=len)] if under else "cpu"
    return f"cuda:{place}" if isinstance(place, int) else place
