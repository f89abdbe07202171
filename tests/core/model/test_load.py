from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.data.tokens.codec import ChatCodec
from core.data.tokens.codec import pad_token as data_pad_token
from core.data.tokens.template import FALLBACK
from core.model import load
from core.model.load import device_of, load_base, load_tokenizer
from core.record.commands import Aborted

torch.set_num_threads(1)


@pytest.fixture
def config(tiny_model: Path) -> RunConfig:
    return RunConfig.model_validate({"model": {"name_or_path": str(tiny_model)}})


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may break."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def config_of(folder: Path) -> RunConfig:
    return RunConfig.model_validate({"model": {"name_or_path": str(folder)}})


def test_the_base_comes_in_nf4_and_frozen(config: RunConfig) -> None:
    from bitsandbytes.nn import Linear4bit

    model = load_base(config, quantized=True, device="cpu")
    layers = [m for m in model.modules() if isinstance(m, Linear4bit)]
    assert len(layers) == 2 * 7
    for layer in layers:
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested
        assert layer.compute_dtype == torch.float32
        assert layer.support_avx512bf16_for_cpu is False
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training
    assert model.config.use_cache is False


def test_quantization_settings_arrive(config: RunConfig) -> None:
    config.quantization.bnb_4bit_quant_type = "fp4"
    config.quantization.bnb_4bit_use_double_quant = False
    config.quantization.bnb_4bit_compute_dtype = "bfloat16"
    layer = load_base(config, quantized=True, device="cpu").model.layers[0].self_attn.q_proj
    assert layer.weight.quant_state.quant_type == "fp4"
    assert not layer.weight.quant_state.nested
    assert layer.compute_dtype == torch.bfloat16


def test_eight_bit_loads(config: RunConfig) -> None:
    from bitsandbytes.nn import Linear8bitLt

    config.quantization.load_in_4bit = False
    config.quantization.load_in_8bit = True
    model = load_base(config, quantized=True, device="cpu")
    assert isinstance(model.model.layers[0].self_attn.q_proj, Linear8bitLt)


def test_unquantized_keeps_the_dtype_that_is_asked_for(config: RunConfig) -> None:
    plain = load_base(config, quantized=False, device="cpu")
    assert {p.dtype for p in plain.parameters()} == {torch.float32}
    stored = load_base(config, quantized=False, device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in stored.parameters()} == {torch.bfloat16}


def test_loading_tells_how_far_it_is_and_can_be_aborted(
    config: RunConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int]] = []
    load_base(config, quantized=False, device="cpu", on_progress=lambda *n: seen.append(n))
    assert seen[-1] == (21, 21)
    assert "Loading weights" not in capfd.readouterr().err

    def abort(done: int, total: int) -> None:
        raise Aborted

    with pytest.raises(Aborted):
        load_base(config, quantized=False, device="cpu", on_progress=abort)


def test_kernels_from_the_hub_are_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kernels.py").write_text("raise SystemExit('was imported')")
    code = (
        "import importlib.util, core.model.load\n"
        "assert importlib.util.find_spec('kernels') is None\n"
        "try: import kernels\n"
        "except ImportError: print('blocked')"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "blocked\n"


def test_tokenizer_pads_left_with_a_token_that_does_not_stop(config: RunConfig) -> None:
    tokenizer = load_tokenizer(config)
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token == "<|im_end|>"


def test_pad_token_and_template_are_those_of_the_data(copy: Path) -> None:
    path = copy / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"pad_token": "<|im_end|>"}))
    (copy / "chat_template.jinja").unlink()
    tokenizer = load_tokenizer(config_of(copy))
    codec = ChatCodec.load(str(copy))
    assert tokenizer.pad_token_id == data_pad_token(codec)[0]
    assert tokenizer.chat_template == FALLBACK


def test_no_tokenizer_is_an_input_error(copy: Path) -> None:
    for file in copy.glob("token*"):
        file.unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_tokenizer(config_of(copy))


def test_weights_that_do_not_fit_are_refused_not_invented(copy: Path) -> None:
    path = copy / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"9 tensors are missing.*layers\.2\."):
        load_base(config_of(copy), quantized=False, device="cpu")


def test_a_wrong_width_is_refused(copy: Path) -> None:
    path = copy / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"intermediate_size": 768}))
    with pytest.raises(InputError, match=r"6 tensors are missing or of another shape.*mlp"):
        load_base(config_of(copy), quantized=False, device="cpu")


def test_an_unknown_architecture_is_named(copy: Path) -> None:
    path = copy / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"model_type": "gronk", "architectures": ["Gronk"]}))
    with pytest.raises(InputError) as caught:
        load_base(config_of(copy), quantized=False, device="cpu")
    assert caught.value.kind == "unknown_architecture"
    assert "gronk" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"model_type": ...}, "unknown_architecture", "names no model_type"),
        ({"hidden_act": 5}, "bad_model", "holds what no such model has: .*'hidden_act'"),
    ],
)
def test_a_config_json_that_cannot_be_taken_is_told_as_such(
    copy: Path, changes: dict[str, object], kind: str, said: str
) -> None:
    path = copy / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: one for name, one in values.items() if one is not ...}))
    with pytest.raises(InputError, match=said) as caught:
        load_base(config_of(copy), quantized=False, device="cpu")
    assert caught.value.kind == kind
    assert "config.json" in caught.value.remedies[0]


def test_remote_code_is_never_run(copy: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    (copy / "modeling_x.py").write_text(f"open({str(witness)!r}, 'w')\nclass X: pass\n")
    path = copy / "config.json"
    values = json.loads(path.read_text())
    auto_map = {"AutoConfig": "modeling_x.X", "AutoModelForCausalLM": "modeling_x.X"}
    path.write_text(json.dumps(values | {"auto_map": auto_map, "model_type": "x"}))
    with pytest.raises(InputError, match="code of its own, which is not run") as caught:
        load_base(config_of(copy), quantized=False, device="cpu")
    assert caught.value.kind == "own_code"
    assert not witness.exists()


def test_a_quantized_checkpoint_is_refused(copy: Path) -> None:
    path = copy / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InputError, match=r"already quantized \(gptq\)"):
        load_base(config_of(copy), quantized=True, device="cpu")


def test_an_adapter_beside_the_base_is_refused(copy: Path) -> None:
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="holds an adapter"):
        load_base(config_of(copy), quantized=True, device="cpu")


def test_a_missing_gpu_is_an_input_error(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(config) == "cpu"
    config.run.devices = "0"
    with pytest.raises(InputError, match="torch sees no GPU"):
        device_of(config)
    config.run.devices = "CPU"
    assert device_of(config) == "cpu"


@pytest.mark.parametrize(("major", "dtype"), [(8, torch.bfloat16), (7, torch.float16)])
def test_gpu_precision_follows_its_generation(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, major: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (major, 0))
    assert load.compute_dtype(config, "cuda:0") == dtype
    assert load.storage_dtype(config, "cuda:0") == dtype
    assert load.compute_dtype(config, "cpu") == torch.float32


def test_tables_that_stay_in_ram_never_touch_the_device(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what transformers is asked for can be looked at without a GPU."""
    from transformers import AutoModelForCausalLM, modeling_utils

    dispatch, asked = modeling_utils.accelerate_dispatch, {}

    def noted(_: str, **wish: object) -> None:
        asked.update(wish)
        modeling_utils.accelerate_dispatch("would put hooks on it")
        raise KeyboardInterrupt

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", noted)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    with pytest.raises(KeyboardInterrupt):
        load_base(config, quantized=True, device="cuda:0", on_host=frozenset({"embedding", "head"}))
    assert modeling_utils.accelerate_dispatch is dispatch
    assert asked["device_map"] == {"": "cuda:0", "model.embed_tokens": "cpu", "lm_head": "cpu"}
    assert asked["quantization_config"].llm_int8_enable_fp32_cpu_offload
    monkeypatch.setattr(modeling_utils, "accelerate_dispatch", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        load_base(config, quantized=True, device="cuda:0")
    assert asked["device_map"] == {"": "cuda:0"}
    assert not asked["quantization_config"].llm_int8_enable_fp32_cpu_offload


def test_the_tables_are_where_they_are_looked_for(config: RunConfig) -> None:
    model = load_base(config, quantized=True, device="cpu", on_host=frozenset({"head"}))
    found = (
        model.get_submodule(load.TABLES["embedding"]),
        model.get_submodule(load.TABLES["head"]),
    )
    assert found == (model.get_input_embeddings(), model.get_output_embeddings())
    load.to_device(model, "cpu")
    assert model.device == torch.device("cpu")
