"""Sections about the model: which one, how it is stored, and the adapter on it."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from core.config.setting import Section, names_of, setting


class ModelConfig(Section):
    """Which model is tuned."""

    name_or_path: str = setting(
        "",
        "A local folder with config.json and safetensors, or a hub id such as "
        "Qwen/Qwen2.5-7B-Instruct.",
        common=True,
    )
    revision: str | None = setting(
        None, "Branch, tag or commit on the hub. Pin a commit to make the run repeatable."
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        "Precision of the parts that stay unquantized. auto: bf16 where the GPU has it, "
        "fp16 before Ampere, fp32 on a CPU.",
    )
    attn_implementation: Literal["auto", "sdpa", "eager"] = setting(
        "auto",
        "Attention code. auto takes sdpa, or eager for Gemma 2, which has no other; both keep "
        "packed rows apart. The fused path trains with its own.",
    )


class QuantizationConfig(Section):
    """How the frozen base is stored while training."""

    load_in_4bit: bool = setting(
        True, "Store the frozen base in 4 bit (QLoRA): a quarter of the memory.", common=True
    )
    load_in_8bit: bool = setting(
        False,
        "Store the base in 8 bit instead: twice the memory of 4 bit, steadier on some models.",
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = setting(
        "nf4", "nf4 fits normally distributed weights best; fp4 is legacy."
    )
    bnb_4bit_use_double_quant: bool = setting(
        True, "Quantize the quantization constants too: saves 0.37 bit a parameter."
    )
    bnb_4bit_compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto",
        "Precision of the matrix products. auto: bf16 on Ampere and newer, fp16 before, "
        "fp32 on a CPU.",
    )

    @model_validator(mode="after")
    def one_width(self) -> QuantizationConfig:
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("load_in_4bit and load_in_8bit exclude each other: switch one off")
        return self

    @property
    def label(self) -> str:
        """Short name for status lines: ``NF4``, ``FP4``, ``int8`` or ``16-bit``."""
        if self.load_in_4bit:
            return self.bnb_4bit_quant_type.upper()
        return "int8" if self.load_in_8bit else "unquantized"


class AdapterConfig(Section):
    """The low-rank adapter that is trained."""

    r: int = setting(
        16,
        "Rank. 8 for simple tasks, 16 to 32 for chat, 64 for hard new domains.",
        common=True,
        ge=1,
        le=1024,
    )
    lora_alpha: float = setting(
        32, "Scales the update by alpha / r. Usually 2 r.", common=True, gt=0, le=4096
    )
    lora_dropout: float = setting(
        0.05, "0.05 to 0.1; 0.1 to 0.2 on small data.", common=True, ge=0, lt=1
    )
    target_modules: Literal["all-linear"] | list[str] = setting(
        "all-linear",
        "all-linear, or the names of the layers that get an adapter, for example q_proj, v_proj. "
        "Fewer save memory on PEFT's layers, none on the fused path.",
        common=True,
    )
    use_rslora: bool = setting(False, "Scale by alpha / sqrt(r) instead: steadier at high ranks.")
    use_dora: bool = setting(
        False, "Train magnitude and direction apart (DoRA). Slower; sometimes better at low ranks."
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def split_names(cls, value: object) -> object:
        """Accept ``q_proj, v_proj`` from a form field or a flag."""
        whole = isinstance(value, str) and value.strip() == "all-linear"
        return "all-linear" if whole else names_of(value)

    @field_validator("target_modules")
    @classmethod
    def some_names(cls, value: str | list[str]) -> str | list[str]:
        if not value:
            raise ValueError("name at least one layer, or write all-linear")
        return value
