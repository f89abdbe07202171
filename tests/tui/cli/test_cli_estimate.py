"""estimate: the parts, JSON in bytes, and what cannot be reckoned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_in import Said

from core.run import probe

Call = Callable[..., Said]


@pytest.fixture
def sized(model: Path) -> Path:
    """The model folder with a configuration that names its sizes."""
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    path.write_text(json.dumps(config), encoding="utf-8")
    return model


@pytest.fixture
def wide(sized: Path) -> Path:
    """A config.json of a model that the fused path takes, without weights."""
    path = sized / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16,
        "num_attention_heads": 16, "vocab_size": 32000,
    }  # fmt: skip
    path.write_text(json.dumps(config), encoding="utf-8")
    (sized / "model.safetensors").unlink()
    return sized


def test_parts_are_listed_and_add_up(call: Call, sized: Path) -> None:
    said = call("estimate", "--model.name_or_path", sized, "--run.devices", "cpu")
    assert said.code == 0
    assert "gradients" in said.out
    assert "path: PEFT" in said.out
    assert "fits: <0.1 of" in said.out
    assert "free on CPU" in said.out
    assert "of RAM more: libraries" in said.out
    document = call("estimate", "--model.name_or_path", sized, "--json").document
    assert document["total_bytes"] == sum(document["parts_bytes"].values())
    assert document["fits"] is True


def test_the_parts_fit_a_narrow_terminal_and_are_named_as_in_json(call: Call, sized: Path) -> None:
    words = ("estimate", "--model.name_or_path", sized, "--gib", "24")
    table = call(*words).out.split("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    names = [row.split()[0] for row in table[1:]]
    assert names == [*call(*words, "--json").document["parts_bytes"], "total"]
    assert any(row.startswith("scratch") and "workspace" in row for row in table)


def test_a_card_that_is_not_there_can_be_asked_about(call: Call, sized: Path) -> None:
    small = call("estimate", "--model.name_or_path", sized, "--gib", "0.1")
    assert (small.code, "does not fit" in small.out) == (0, True)
    large = call("estimate", "--gib=24", "--model.name_or_path", sized, "--json").document
    assert (large["device"], large["fits"]) == ("a GPU", True)
    assert large["parts_bytes"]["context"] > 0
    assert "fits: 0.9 GiB, on a GPU of 24.0 GiB\n" in call(
        "estimate", "--gib=24", "--model.name_or_path", sized
    ).out  # fmt: skip
    assert "and the GPU has 0.1. Its weights and CUDA alone take" in small.out
    for none in ("-1", "nan", "inf", "1e300"):
        said = call("estimate", "--model.name_or_path", sized, "--gib", none)
        assert (said.code, "is no size of a GPU" in said.err) == (2, True)


def test_the_ram_beside_such_a_card_is_asked_about_or_told(
    call: Call, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.memory.free_memory_bytes", lambda: 3 << 30)
    words = ("estimate", "--model.name_or_path", wide, "--gib", "8", "--data.max_length", "32768")
    unasked = call(*words).out
    assert "GiB of RAM are free there (3.0 are here; --ram tells how many are)" in unasked
    needs = float(unasked.split("if ")[-1].split(" GiB of RAM")[0])
    assert call(*words, "--ram", needs + 0.1).out.endswith("on a GPU of 8.0 GiB\n")
    assert call(*words, "--ram", "0.1", "--json").document["host_bytes"] < needs * (1 << 30) / 2
    for none in ("-1", "nan", "inf", "1e300"):
        said = call(*words, "--ram", none)
        assert (said.code, "is no amount of RAM" in said.err) == (2, True)
    alone = call("estimate", "--model.name_or_path", wide, "--ram", "8")
    assert (alone.code, "beside the GPU of --gib" in alone.err) == (2, True)


def test_a_limit_that_is_too_small_is_what_does_not_fit(call: Call, sized: Path) -> None:
    words = ("estimate", "--model.name_or_path", sized, "--gib", "24", "--limit_gib", "0.001")
    said = call(*words)
    assert "memory.limit_gib allows 0.001" in said.out
    assert call(*words, "--json").document["fits"] is False


def test_a_configuration_file_is_taken(call: Call, sized: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'[model]\nname_or_path = "{sized}"\n[adapter]\nr = 8\n', encoding="utf-8")
    half = call("estimate", path, "--json").document["parts_bytes"]["adapter"]
    assert call("estimate", path, "--r", "16", "--json").document["parts_bytes"]["adapter"] == (
        2 * half
    )


def test_what_is_missing_is_named(call: Call, model: Path) -> None:
    assert "no model is named" in call("estimate").err
    said = call("estimate", "--model.name_or_path", model)
    assert said.code == 2
    assert "does not tell its sizes" in said.err


def test_what_a_probe_measures_stands_beside_the_estimate(
    call: Call, sized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {
        "device": "CPU", "path": "PEFT", "why": "told", "device_bytes": None,
        "allocated_bytes": None, "ram_bytes": 3 << 30, "load_seconds": 2.0, "step_seconds": 0.5,
        "tokens": 100, "eval_seconds": 0.25,
    }  # fmt: skip
    monkeypatch.setattr(probe, "probe", lambda config: figures)
    said = call("estimate", "--model.name_or_path", sized, "--run.devices", "cpu", "--probe")
    assert said.code == 0
    assert "RAM of the process     3.000" in said.out
    assert "100 tokens in 0.50 s (200 a second), evaluation 0.25 s" in said.out
    figures["path"] = "fused"
    again = call("estimate", "--model.name_or_path", sized, "--run.devices", "cpu", "--probe")
    assert "fused (told; estimated for PEFT): loaded" in again.out
    words = ("estimate", "--json", "--probe", "--model.name_or_path", sized)
    assert call(*words).document["probe"] == figures
    assert "probe" not in call("estimate", "--json", "--model.name_or_path", sized).document
    refused = call("estimate", "--probe", "--gib", "8", "--model.name_or_path", sized)
    assert refused.code == 2
    assert "take one of them" in refused.err


def test_a_training_that_is_refused_does_not_fit(call: Call, sized: Path) -> None:
    words = (
        "estimate",
        "--model.name_or_path",
        sized,
        "--run.devices",
        "cpu",
        "--train.fp8",
        "yes",
    )
    assert "refused: train.fp8 is for the fused path alone. It would take" in call(*words).out
    document = call(*words, "--json").document
    assert (document["fits"], document["reason"].startswith("refused: ")) == (False, True)
    fitting = call(*words[:-2], "--json").document
    assert (fitting["fits"], fitting["reason"]) == (True, "")


def test_a_model_of_no_kind_is_refused(call: Call, sized: Path) -> None:
    path = sized / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["model_type"]
    path.write_text(json.dumps(config), encoding="utf-8")
    words = ("estimate", "--model.name_or_path", sized, "--run.devices", "cpu")
    assert "refused: its config.json names no model_type" in call(*words).out
    assert call(*words, "--json").document["fits"] is False


def test_experts_that_cannot_be_told_do_not_fit(call: Call, sized: Path) -> None:
    path = sized / "config.json"
    odd = json.loads(path.read_text(encoding="utf-8")) | {"num_experts": [4, 4]}
    path.write_text(json.dumps(odd), encoding="utf-8")
    (sized / "model.safetensors").unlink(missing_ok=True)
    words = ("estimate", "--model.name_or_path", sized, "--run.devices", "cpu")
    assert "cannot be told without the weights" in call(*words).out
    assert call(*words, "--json").document["fits"] is False
