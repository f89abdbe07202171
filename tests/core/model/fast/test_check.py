"""A model whose kernels err takes PEFT's layers, with the reason."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fast_models import TritonError, adapted

from core.model.fast import check, plain, route

CPU = torch.device("cpu")


def tried(family: str = "llama") -> str | None:
    return check.layer_fails(adapted(family), torch.float32, CPU)


def erring(**pieces: Any) -> SimpleNamespace:
    """The twins, some of them replaced."""
    names = {name: getattr(plain, name) for name in dir(plain) if not name.startswith("_")}
    return SimpleNamespace(**names | pieces)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_sound_layer_passes_and_the_model_stays_as_it_was(family: str) -> None:
    model, state = adapted(family), torch.random.get_rng_state()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert check.layer_fails(model, torch.float32, CPU) is None
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("piece", "said"),
    [("swiglu", "its output"), ("outward", "the gradient of its input"),
     ("rotate", "the gradient of A of q_proj"), ("expand", "its output"),
     ("rms_norm_backward", "the gradient of its input"),
     ("project_backward", "the gradient of A of q_proj")],
)  # fmt: skip
def test_what_errs_is_found(piece: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = getattr(plain, piece)

    def mixed(*given: Any, **wish: Any) -> None:
        sound(*given, **wish)
        written = {"swiglu": 2, "outward": 3, "rotate": 3, "rms_norm_backward": 5, "expand": 4,
                   "project_backward": 2}  # fmt: skip
        target = given[written[piece]]
        # Queries and keys that are mixed up alike have the same products: their tokens are.
        target.copy_(target.roll(1, 0 if piece == "rotate" else -1))

    monkeypatch.setattr(route, "pieces_for", lambda _: erring(**{piece: mixed}))
    told = tried()
    assert told is not None
    assert told.startswith("its kernels compute something else here than torch: ")
    assert f"{said} is off by" in told


def test_nan_errs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*given: Any, **_: Any) -> None:
        given[3].fill_(torch.nan)

    monkeypatch.setattr(route, "pieces_for", lambda _: erring(rotate=nothing))
    assert "off by nan%" in str(tried())


def test_what_errs_with_dropout_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*given: Any, **wish: Any) -> None:
        gate_up, a, out, tail, mask, *more = given
        elsewhere = mask and replace(mask, seed=mask.seed + 1)
        plain.swiglu(gate_up, a, out, tail, elsewhere, *more, **wish)

    monkeypatch.setattr(route, "pieces_for", lambda _: erring(swiglu=other))
    model = adapted("llama")
    assert check.layer_fails(model, torch.float32, CPU) is None
    model.peft_config["default"].lora_dropout = 0.5
    told = check.layer_fails(model, torch.float32, CPU)
    assert "than torch: with dropout, " in str(told)


def test_what_does_not_run_is_told_and_want_of_memory_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(error: Exception) -> Any:
        def run(*_: Any, **__: Any) -> None:
            raise error

        return lambda _: erring(swiglu=run)

    for kind in (RuntimeError, TritonError):
        monkeypatch.setattr(route, "pieces_for", fails(kind("no such instruction\nand more")))
        assert tried() == "a layer of it does not run here: no such instruction"
    monkeypatch.setattr(route, "pieces_for", fails(torch.OutOfMemoryError("2 GiB")))
    assert tried() is None


@pytest.mark.skipif(
    not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1",
    reason="kernels need a GPU",
)
@pytest.mark.parametrize(("family", "dropout"), [("llama", 0.0), ("qwen3", 0.0), ("llama", 0.05)])
def test_the_kernels_pass(family: str, dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="comes with torch for GPUs")
    from core.model.fast import fused

    model = adapted(family, lora_dropout=dropout)
    if torch.cuda.is_available():
        model = model.to(torch.bfloat16).to("cuda")
        assert check.layer_fails(model, torch.bfloat16, torch.device("cuda")) is None
        return
    monkeypatch.setattr(check, "_TOKENS", 40)
    monkeypatch.setattr(route, "pieces_for", lambda _: fused)
    assert check.layer_fails(model, torch.float32, CPU) is None
