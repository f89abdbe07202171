"""Estimates against what is free, on fake cards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.config.errors import InputError
from core.config.files import from_overrides
from core.model import fits, liger
from core.monitor.devices import Gpu, Listing

GIB = 1 << 30


def card(
    gib: float, free: float | None = None, capability: tuple[int, int] | None = (9, 0)
) -> Listing:
    free_bytes, total_bytes = int((free or gib) * GIB), int(gib * GIB)
    return Listing((Gpu(0, "GPU-1", "Card", free_bytes, total_bytes, capability=capability),))


def test_a_run_is_reckoned_for_the_device_it_would_take(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"model.name_or_path": str(tiny_model), "train.path": "peft"}
    config = from_overrides(given).config
    monkeypatch.setattr(fits, "listing", lambda: Listing(why="no GPU: none"))
    on_cpu = fits.reckon(config)
    assert on_cpu is not None
    assert (on_cpu.device, on_cpu.on_gpu, on_cpu.estimate.context) == ("CPU", False, 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(fits, "listing", lambda: card(24, 20))
    on_gpu = fits.reckon(config)
    assert on_gpu is not None
    assert (on_gpu.device, on_gpu.free_bytes, on_gpu.fits) == ("Card", 20 * GIB, True)
    assert on_gpu.estimate.embedding * 2 == on_cpu.estimate.embedding
    imagined = fits.reckon(config, GIB // 10)
    assert imagined is not None
    assert not imagined.fits


def test_a_limit_counts_where_it_is_less_than_what_is_free(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(fits, "listing", lambda: card(24, 20))

    def room(limit: str) -> tuple[float, bool]:
        given = {"model.name_or_path": str(tiny_model), "memory.limit_gib": limit}
        found = fits.reckon(from_overrides(given).config)
        assert found is not None
        return found.room_bytes / GIB, found.fits

    assert room("") == (20, True)
    assert room("100") == (20, True)
    assert room("2") == (2, True)
    assert room("0.5") == (0.5, False)


def test_a_gpu_without_bf16_takes_pefts_layers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = from_overrides({"model.name_or_path": str(tiny_model)}).config
    for capability, path in (((7, 5), "PEFT"), ((8, 6), "fused"), (None, "fused")):
        listed = card(24, capability=capability)
        monkeypatch.setattr(fits, "listing", lambda listed=listed: listed)
        found = fits.reckon(config)
        assert found is not None
        assert found.estimate.path == path
    assert "no GPU here does" in next(iter(fits.paths(card(16, capability=(7, 5))))).text


@pytest.mark.parametrize(("capability", "refused"), [((8, 6), True), ((8, 9), False)])
def test_a_gpu_without_fp8_is_told_before_the_start(
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    refused: bool,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(fits, "listing", lambda: card(24, capability=capability))
    for fp8 in ("yes", "no"):
        wish = {"model.name_or_path": str(tiny_model), "train.fp8": fp8}
        found = fits.reckon(from_overrides(wish).config)
        assert found is not None
        told = found.estimate.why.startswith("Card has compute capability 8.6, and FP8 takes 8.9")
        assert told == found.estimate.why.endswith("this training is refused")
        assert told == (refused and fp8 == "yes")
        assert (found.estimate.path == "fused") != told


def test_a_config_json_alone_is_enough(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    given = {"model.name_or_path": str(tmp_path), "train.path": "peft"}
    found = fits.reckon(from_overrides(given).config, 24 * GIB)
    assert found is not None
    assert any("weights are not here" in note for note in found.estimate.notes)
    given["model.name_or_path"] = str(tiny_model)
    whole = fits.reckon(from_overrides(given).config, 24 * GIB)
    assert whole is not None
    assert found.estimate.total == pytest.approx(whole.estimate.total, rel=0.001)


def test_a_folder_that_is_no_model_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        fits.reckon(from_overrides({"model.name_or_path": str(tmp_path)}).config)


@pytest.mark.parametrize(
    ("settings", "changes", "kind"),
    [
        ({"train.fp8": "yes"}, {}, "no_fp8"),
        ({}, {"quantization_config": {"quant_method": "awq"}}, "already_quantized"),
        ({}, {"model_type": None}, "unknown_architecture"),
        ({"adapter.target_modules": "q_porj"}, {}, "unknown_target_module"),
    ],
)
def test_what_is_refused_does_not_start(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    changes: dict[str, object],
    kind: str,
) -> None:
    monkeypatch.setattr(fits, "listing", lambda: Listing(why="no GPU: none"))
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    given = {"model.name_or_path": str(tiny_model if settings else folder)}
    fits.check_start(from_overrides({"model.name_or_path": str(tiny_model)}).config)
    with pytest.raises(InputError) as caught:
        fits.check_start(from_overrides(given | settings).config)
    assert caught.value.kind == kind
    assert caught.value.remedies


def test_what_cannot_be_looked_at_is_left_to_the_run(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits.check_start(from_overrides({"model.name_or_path": str(tmp_path)}).config)
    monkeypatch.setattr(fits, "listing", lambda: Listing(why="no GPU: none"))
    gone = {"model.name_or_path": str(tiny_model), "train.fp8": "yes", "run.devices": "7"}
    fits.check_start(from_overrides(gone).config)


def test_ram_beside_an_imagined_card_is_what_is_told(tiny_model: Path) -> None:
    config = from_overrides({"model.name_or_path": str(tiny_model)}).config
    any_, some = fits.reckon(config, 8 * GIB), fits.reckon(config, 8 * GIB, GIB)
    none = fits.reckon(config, 8 * GIB, 1000)
    assert any_ is not None
    assert some is not None
    assert none is not None
    assert (any_.host_bytes, some.host_bytes) == (None, int(0.9 * GIB))
    assert (any_.estimate.path, some.estimate.path) == ("fused", "fused")
    assert (none.estimate.path, "of free memory (RAM)" in none.estimate.why) == ("PEFT", True)


def test_larger_sizes_and_methods_need_more() -> None:
    table = [[fits.need(method, size) for size in fits.SIZES] for method in fits.METHODS]
    for row in table:
        assert row == sorted(row)
    for column in zip(*table, strict=True):
        assert list(column) == sorted(column)
    assert 4.5 * GIB < table[0][0] < 7 * GIB
    assert table[2][3] > 1000 * GIB


@pytest.mark.parametrize(
    ("gib", "said"), [(80, "up to 70B"), (24, "up to 34B"), (12, "up to 13B"), (2, "none of the")]
)
def test_sizes_that_fit_a_card(gib: float, said: str) -> None:
    qlora, lora, full = fits.findings(card(gib))
    assert qlora.text.startswith(f"QLoRA: {said}")
    assert qlora.level == ("warn" if gib == 2 else "ok")
    assert bool(qlora.fix) == (gib == 2)
    assert (lora.level, full.level) == ("ok", "ok")
    assert "7B" in full.text


def test_without_ram_for_the_fused_path_more_of_the_card_is_taken() -> None:
    size = fits.SIZES[0]
    assert fits.need("QLoRA", size) < fits.need("QLoRA", size, host_bytes=GIB // 8)
    assert fits.need("full", size) == fits.need("full", size, host_bytes=GIB // 8)


def test_without_a_card_there_is_nothing_to_say() -> None:
    assert list(fits.findings(Listing(why="no GPU"))) == []
    assert list(fits.paths(Listing(why="no GPU"))) == []


@pytest.mark.parametrize("version", [None, "0.8.5"])
def test_how_models_train_on_a_card_is_said(
    monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    monkeypatch.setattr(liger, "installed", lambda: version)
    (found,) = fits.paths(card(24))
    assert found.level == "ok"
    assert "mixtures of experts (16 bit)" in found.text
    assert ("with those of Liger 0.8.5" in found.text) == (version is not None)
    assert ("finetui[liger]" in found.fix) == (version is None)
