"""How near the adapters' gradients are to those in fp32: the fused path, and PEFT with autocast.

    python benchmarks/gradients.py llama31-8b llama32-1b qwen25-7b qwen3-8b

Some layers of each shape's real widths with a random NF4 base and a random adapter, two documents
of equal length and the same tokens in documents of mixed lengths (packed). Printed is the smallest
cosine between any adapter matrix's gradient and that of PEFT's layers computed in fp32 on the same
dequantized weights. Without a GPU the fused path runs on its twins, in fp32 as well. On a GPU that
multiplies in FP8 (compute capability 8.9 or more) the fused path is compared in FP8, too.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from limits import at_least  # noqa: E402
from peers import random_base  # noqa: E402
from peers.shapes import MODELS, TARGETS  # noqa: E402

from core.model.fast.model import FastModel  # noqa: E402
from core.model.fast.plan import Plan  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FP8 = DEVICE == "cuda" and torch.cuda.get_device_capability() >= (8, 9)
_MIXED = (0.05, 0.3, 0.1, 0.4, 0.15)
"""Lengths of documents, as parts of all tokens."""
_LEAST_TOKENS = 64
"""In documents of a few tokens each sees hardly another: queries and keys get no gradient to speak
of, and its direction is that of rounding."""


def paths() -> dict[str, str]:
    """What is compared with fp32 here, and how the table calls it."""
    known = {"fused": "fused", "peft": "PEFT with autocast", "fp8": "fused in FP8"}
    return {name: title for name, title in known.items() if name != "fp8" or FP8}


def model_of(shape: str, layers: int, dropout: float) -> Any:
    """A PEFT model of some layers over a random NF4 base; B is not zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import BitsAndBytesConfig

    dtype = torch.bfloat16 if DEVICE == "cuda" else torch.float32
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # fmt: skip
    wish = {
        "device_map": {"": DEVICE}, "quantization_config": quantized, "dtype": dtype,
        "attn_implementation": "sdpa",
    }  # fmt: skip
    with mock.patch.dict(MODELS[shape], num_hidden_layers=layers):
        base = random_base.build(shape, wish, seed=0)
    base.requires_grad_(False)
    lora = LoraConfig(
        r=16, lora_alpha=16, lora_dropout=dropout, target_modules=list(TARGETS),
        task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(3)  # A
    model = get_peft_model(base, lora, autocast_adapter_dtype=True)
    generator = torch.Generator(DEVICE).manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02, generator=generator)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.train()


def piece_of(lengths: list[int], vocabulary: int) -> dict[str, Any]:
    """Random documents, every token but the first of each predicted."""
    generator = torch.Generator().manual_seed(2)
    ends = [0, *itertools.accumulate(lengths)]
    ids = torch.randint(4, vocabulary, (ends[-1],), generator=generator)
    rows = torch.tensor([n for n in range(ends[-1]) if n + 1 not in ends])
    return {
        "input_ids": ids.to(DEVICE),
        "position_ids": torch.cat([torch.arange(n) for n in lengths]).to(DEVICE),
        "lengths": lengths,
        "ends": torch.tensor(ends, dtype=torch.int32, device=DEVICE),
        "rows": rows.to(DEVICE),
        "targets": ids[rows + 1].to(DEVICE),
    }


def peft_gradients(model: Any, piece: dict[str, Any], *, exact: bool) -> dict[str, torch.Tensor]:
    """Gradients through PEFT's layers, one document after the other."""
    model.zero_grad(set_to_none=True)
    for start, end in itertools.pairwise(piece["ends"].tolist()):
        ids = piece["input_ids"][None, start:end]
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda" and not exact):
            logits = model(input_ids=ids).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
        (loss / len(piece["targets"])).backward()
    return _taken(model)


def fast_gradients(
    model: Any, piece: dict[str, Any], *, fp8: bool = False
) -> dict[str, torch.Tensor]:
    """Gradients of the fused path, with products in FP8 or in the model's precision."""
    model.zero_grad(set_to_none=True)
    fast = FastModel(model, Plan(0, longest=len(piece["input_ids"])), fp8=fp8)
    (fast({"pieces": [piece]}) / len(piece["targets"])).backward()
    return _taken(model)


def _taken(model: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.float().clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad(set_to_none=True)
    return found


def exact_model(model: Any) -> Any:
    """The same model in fp32: products of dequantized weights, nothing rounded in between."""
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32
            module.compute_type_is_set = True
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            state.dtype = torch.float32
    return model.float()


def least_cosine(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    cosines = [
        float(torch.nn.functional.cosine_similarity(found[n].flatten(), wanted[n].flatten(), dim=0))
        for n in wanted
    ]
    return min(cosines)


def compare(shape: str, layers: int, tokens: int) -> list[str]:
    """A line of the table."""
    lengths = [max(8, round(tokens * part)) for part in _MIXED]
    pieces = {
        "equal": piece_of([tokens // 2] * 2, MODELS[shape]["vocab_size"]),
        "packed": piece_of(lengths, MODELS[shape]["vocab_size"]),
    }
    found: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for kind, piece in pieces.items():
        # The fused path takes the model's memory over, so PEFT goes first.
        found[kind, "peft"] = peft_gradients(model := model_of(shape, layers, 0.0), piece,
                                             exact=False)  # fmt: skip
        found[kind, "fused"] = fast_gradients(model, piece)
        if FP8:
            found[kind, "fp8"] = fast_gradients(model_of(shape, layers, 0.0), piece, fp8=True)
        found[kind, "exact"] = peft_gradients(exact_model(model_of(shape, layers, 0.0)), piece,
                                              exact=True)  # fmt: skip
    return [
        shape,
        *("; ".join(f"{least_cosine(found[kind, path], found[kind, 'exact']):.5f}"
                    for kind in pieces) for path in paths()),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="+", choices=MODELS)
    parser.add_argument("--layers", type=at_least(1), default=4)
    parser.add_argument("--tokens", type=at_least(_LEAST_TOKENS), default=2048)
    options = parser.parse_args()
    if DEVICE == "cpu":
        print("no GPU: all in fp32, the fused path on its twins; this shows that the arithmetic is "
              "right, and nothing of rounding", file=sys.stderr)  # fmt: skip
        wide = [shape for shape in options.shapes if shape != "tiny"]
        if wide:
            print(f"on a CPU this takes long, and much memory, for {', '.join(wide)}: fewer "
                  "--layers and --tokens take less", file=sys.stderr)  # fmt: skip
    print("| shape | " + " | ".join(f"{name}: equal; packed" for name in paths().values()) + " |")
    print("| --- " * (1 + len(paths())) + "|")
    for shape in options.shapes:
        print("| " + " | ".join(compare(shape, options.layers, options.tokens)) + " |", flush=True)


if __name__ == "__main__":
    main()
