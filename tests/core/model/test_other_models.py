"""Models that the fused path does not know: what is said of them, and that PEFT's layers train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.config.errors import InputError
from core.config.files import from_overrides
from core.config.schema import RunConfig
from core.model import adapters, apart, load
from core.model.memory import estimate
from core.model.shapes import shape_of
from core.train.loss import LabelLoss

pytestmark = pytest.mark.trains

SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "mixtral": SMALL | {"num_local_experts": 4},
    "qwen3_moe": SMALL | {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
                          "moe_intermediate_size": 64},
    "llama4_text": SMALL | {"head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 128},
    "gemma2": SMALL | {"head_dim": 16},
    "gemma3_text": SMALL | {"head_dim": 16},
    "gemma3": {"text_config": SMALL | {"head_dim": 16}, "vision_config": VISION,
               "mm_tokens_per_image": 4},
    "phi3": SMALL,
}  # fmt: skip
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
MLP = {"gate_proj", "up_proj", "down_proj"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from transformers import AutoConfig, AutoModelForCausalLM

    made = {}
    for kind, values in MODELS.items():
        made[kind] = tmp_path_factory.mktemp("models") / kind
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values))
        model.to(torch.bfloat16).save_pretrained(made[kind])
    return made


def config(folder: Path, **changes: str) -> RunConfig:
    return from_overrides({"model.name_or_path": str(folder), "adapter.r": "4"} | changes).config


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("mixtral", "MixtralForCausalLM is a mixture of experts: plain path"),
        ("qwen3_moe", "Qwen3MoeForCausalLM is a mixture of experts: plain path"),
        ("llama4_text", "Llama4ForCausalLM is a mixture of experts: plain path"),
        ("gemma3", "Gemma3ForConditionalGeneration takes more than text"),
        ("gemma3_text", "the fused path does not know Gemma3ForCausalLM"),
        ("phi3", "the fused path does not know Phi3ForCausalLM"),
    ],
)
def test_the_estimate_says_which_path_and_why(
    folders: dict[str, Path], kind: str, said: str
) -> None:
    for gpu in (True, False):
        found = estimate(config(folders[kind]), shape_of(str(folders[kind])), gpu=gpu)
        assert found is not None
        assert found.path == "PEFT"
        assert found.why.startswith(said) or (not gpu and "NVIDIA" in found.why)
        mixture = kind in ("mixtral", "qwen3_moe", "llama4_text")
        assert any("experts are not quantized" in note for note in found.notes) == mixture
        assert any("is not trained" in note for note in found.notes) == (kind == "gemma3")


@pytest.mark.parametrize(
    ("kind", "learning"),
    [
        ("mixtral", ATTENTION), ("qwen3_moe", ATTENTION), ("llama4_text", ATTENTION),
        ("gemma2", ATTENTION | MLP), ("gemma3_text", ATTENTION | MLP), ("gemma3", ATTENTION | MLP),
        ("phi3", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
    ],
)  # fmt: skip
def test_every_adapter_learns(folders: dict[str, Path], kind: str, learning: set[str]) -> None:
    wish = config(folders[kind])
    base = load.load_base(wish, quantized=True, device="cpu")
    model = adapters.attach(base, wish).train()
    assert apart.rows_stay_apart(base)
    ids = torch.randint(0, 300, (1, 20))
    batch = {"input_ids": ids, "rows": torch.arange(19), "targets": ids[0, 1:]}
    LabelLoss(model)(batch).backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None for grad in trained.values())
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == learning
    assert not any("vision" in name for name in trained)
    assert any(bool(grad.any()) for grad in trained.values() if grad is not None)


@pytest.mark.parametrize("kind", ["gemma3", "gemma3_text", "phi3", "mixtral"])
def test_the_adapters_that_are_counted_are_those_that_learn(
    folders: dict[str, Path], kind: str
) -> None:
    wish = config(folders[kind])
    expected = estimate(wish, shape_of(str(folders[kind])), gpu=False)
    assert expected is not None
    base = load.load_base(wish, quantized=True, device="cpu")
    assert expected.embedding == base.get_input_embeddings().weight.nbytes
    assert bool(expected.head) is not base.get_output_embeddings().weight.is_set_to(
        base.get_input_embeddings().weight
    )
    learning = adapters.trainable_parameters(adapters.attach(base, wish))[0]
    assert expected.adapter == 4 * learning


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_weights_of_experts_are_counted_as_they_are_loaded(
    folders: dict[str, Path], kind: str
) -> None:
    wish = config(folders[kind])
    expected = estimate(wish, shape_of(str(folders[kind])), gpu=False)
    assert expected is not None
    base = load.load_base(wish, quantized=True, device="cpu")
    ends = base.get_output_embeddings().weight, base.get_input_embeddings().weight
    stored = sum(p.nbytes for p in base.parameters()) - sum(p.nbytes for p in ends)
    assert expected.weights == pytest.approx(stored, rel=0.03)
    learning = adapters.trainable_parameters(adapters.attach(base, wish))[0]
    assert expected.adapter == 4 * learning


def test_experts_with_dropout_are_refused_in_words(folders: dict[str, Path]) -> None:
    wish = config(folders["qwen3_moe"])
    base = load.load_base(wish, quantized=True, device="cpu")
    wish.adapter.target_modules = ["q_proj", "o_proj"]
    adapters.check_targets(base, wish.adapter.target_modules)
    from peft import get_peft_model

    def refuses(*_: Any, **__: Any) -> Any:
        raise ValueError("lora.ParamWrapper does not work with lora_dropout != 0.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peft.get_peft_model", refuses)
        with pytest.raises(InputError, match="cannot take this adapter") as told:
            adapters.attach(base, wish)
    assert any("lora_dropout to 0" in remedy for remedy in told.value.remedies)
    assert get_peft_model is not refuses


def test_without_sdpa_packed_rows_are_kept_apart_by_eager_attention(
    folders: dict[str, Path],
) -> None:
    wish = config(folders["gemma2"])
    assert shape_of(str(folders["gemma2"])).eager
    model = load.load_base(wish, quantized=False, device="cpu")
    first, second = torch.randint(3, 300, (2, 1, 12))
    places = torch.arange(12).repeat(2)[None]
    with torch.no_grad():
        packed = model(input_ids=torch.cat([first, second], 1), position_ids=places).logits
        alone = model(input_ids=second).logits
    torch.testing.assert_close(packed[:, 12:], alone)


def test_an_attention_that_a_model_lacks_is_told(folders: dict[str, Path]) -> None:
    wish = config(folders["gemma2"], **{"model.attn_implementation": "sdpa"})
    with pytest.raises(InputError, match="knows eager alone") as told:
        load.load_base(wish, quantized=False, device="cpu")
    assert told.value.kind == "no_attention"
