from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from core.config.errors import InputError
from core.model import shapes
from core.model.shapes import Linear, check_target_modules, configured, read_header, shape_of


def write_safetensors(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header, offset = {}, 0
    for name, shape in tensors.items():
        size = 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def write_sharded(folder: Path, **config: object) -> Path:
    folder.mkdir()
    plain = {"architectures": ["XForCausalLM"], "vocab_size": 12, "hidden_size": 4, **config}
    (folder / "config.json").write_text(json.dumps(plain))
    shards = {
        "a.safetensors": {"model.embed_tokens.weight": (12, 4), "model.l.0.q_proj.weight": (4, 4)},
        "b.safetensors": {"model.l.0.norm.weight": (4,), "lm_head.weight": (12, 4)},
    }
    for name, tensors in shards.items():
        write_safetensors(folder / name, tensors)
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_a_model_folder_is_described_without_torch(tiny_model: Path) -> None:
    code = (
        "import sys\n"
        "from core.model.shapes import shape_of\n"
        f"shape = shape_of({str(tiny_model)!r})\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)\n"
        "print(shape.parameters)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shape = shape_of(str(tiny_model))
    assert int(done.stdout) == shape.parameters == 1_313_536
    assert shape.size_bytes == 2 * 1_313_536
    assert (shape.hidden_size, shape.layers, shape.vocab_size) == (256, 2, 259)
    assert shape.dtype == "BF16"
    assert not shape.tied
    assert (shape.intermediate_size, shape.heads, shape.kv_heads, shape.head_dim) == (
        512, 4, 2, 64,
    )  # fmt: skip
    assert Linear("k_proj", 128, 256, 2) in (shape.linears or ())
    assert shape.linear_names == (
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    )  # fmt: skip


def test_shards_are_added_up(tmp_path: Path) -> None:
    shape = shape_of(str(write_sharded(tmp_path / "m")))
    assert shape.parameters == 48 + 16 + 4 + 48
    assert shape.linear_names == ("q_proj",)


def test_numbers_of_a_multimodal_model_are_one_level_down(tmp_path: Path) -> None:
    text = {"hidden_size": 4, "num_hidden_layers": 3, "vocab_size": 12}
    folder = write_sharded(tmp_path / "m", text_config=text)
    assert shape_of(str(folder)).layers == 3


@pytest.mark.parametrize(
    ("config", "head", "tied"),
    [
        ({"model_type": "gemma2"}, True, False),
        ({"model_type": "gemma2"}, False, True),
        ({"model_type": "llama"}, False, True),
        ({"model_type": "llama", "tie_word_embeddings": False}, False, False),
        ({"model_type": "gemma2"}, None, True),
        ({"model_type": "llama"}, None, False),
        ({"model_type": "g", "text_config": {"model_type": "gemma3_text"}}, None, True),
        ({"text_config": {"model_type": "gemma3_text", "tie_word_embeddings": False}}, None, False),
    ],
)  # fmt: skip
def test_a_tied_head_is_told_stored_or_usual(
    tmp_path: Path, config: dict[str, object], head: bool | None, tied: bool
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 12} | config))
    if head is not None:
        names = ["model.embed_tokens.weight", *(["lm_head.weight"] if head else [])]
        write_safetensors(tmp_path / "model.safetensors", dict.fromkeys(names, (12, 4)))
    found = configured(str(tmp_path)) if head is None else shape_of(str(tmp_path))
    assert found.tied is tied


def test_usual_ties_and_sizes_are_those_of_transformers() -> None:
    from transformers import AutoConfig

    for kind in shapes._TIED:
        assert AutoConfig.for_model(kind).get_text_config().tie_word_embeddings, kind
    for kind, sizes in shapes._UNSAID.items():
        values = AutoConfig.for_model(kind)
        assert {name: getattr(values, name) for name in sizes} == sizes


def test_what_reads_pictures_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 12, "vision_config": {}}))
    write_safetensors(
        tmp_path / "model.safetensors",
        {
            "model.vision_tower.l.0.q_proj.weight": (4, 4),
            "model.language_model.l.0.q_proj.weight": (4, 4),
            "multi_modal_projector.linear.weight": (8, 4),
        },
    )
    assert shape_of(str(tmp_path)).linears == (
        Linear("linear", 8, 4, 1, text=False),
        Linear("q_proj", 4, 4, 1, text=False),
        Linear("q_proj", 4, 4, 1),
    )


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "m")
    (folder / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 2 weight files, such as b\.safetensors"):
        shape_of(str(folder))


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "m")
    index = {"weight_map": {"x.weight": "../b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="names a file elsewhere"):
        shape_of(str(folder))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a complete safetensors file"),
        (struct.pack("<Q", 1 << 60) + b"{}", "header claims"),
        (struct.pack("<Q", 2) + b"[]", "not a complete safetensors file"),
        (b"\x80\x02}q\x00." * 9, "header claims"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_header(path)


def test_a_cut_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a.weight": (64, 64)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="bytes expected"):
        read_header(path)


def test_a_folder_without_weights_says_what_to_do(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model / "config.json", tmp_path)
    with pytest.raises(InputError) as none:
        shape_of(str(tmp_path))
    assert none.value.kind == "no_weights"
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="pickle can run code") as pickled:
        shape_of(str(tmp_path))
    assert pickled.value.kind == "pickle_weights"


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        shape_of(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_broken_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError):
        shape_of(str(tmp_path))


def test_hub_weights_that_are_not_cached_stay_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"architectures": ["X"], "hidden_size": 8}))
    monkeypatch.setattr("core.model.shapes.model_file", lambda *_: config)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    shape = shape_of("nobody/has-this")
    assert shape.linear_names is None
    assert shape.parameters is None
    assert shape.why == "the weights are not downloaded yet"
    assert check_target_modules(["anything"], shape) is None


def test_unknown_targets_come_with_the_nearest_names(tiny_model: Path) -> None:
    shape = shape_of(str(tiny_model))
    assert check_target_modules("all-linear", shape) is None
    assert check_target_modules(["q_proj", "self_attn.v_proj"], shape) is None
    sentence = check_target_modules(["q_prj", "zzz"], shape)
    assert sentence is not None
    assert "LlamaForCausalLM has no linear layer 'q_prj' (did you mean q_proj" in sentence
    assert "'zzz'; it has down_proj" in sentence


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_layers_of_a_family_are_known_without_weights(tmp_path: Path, family: str) -> None:
    kind = {"architectures": [f"{family.title()}ForCausalLM"], "model_type": family}
    (tmp_path / "config.json").write_text(json.dumps(kind | {"hidden_size": 8}))
    shape = configured(str(tmp_path))
    assert check_target_modules("all-linear", shape) is None
    assert check_target_modules(["down_proj", "self_attn.o_proj"], shape) is None
    assert check_target_modules(["zzz", "lm_head"], shape) == (
        f"{family.title()}ForCausalLM has no linear layer 'zzz', 'lm_head'; it has down_proj, "
        "gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )


def test_a_model_can_be_described_without_its_weights(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "m", num_hidden_layers=3)
    (folder / "a.safetensors").unlink()
    with pytest.raises(InputError, match="lacks 1 of 2"):
        shape_of(str(folder))
    found = configured(str(folder))
    assert (found.vocab_size, found.layers, found.linears) == (12, 3, None)
