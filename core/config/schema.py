"""RunConfig: every setting of a run, with its help, unit, limits and choices on the field.

The form, the command-line flags, the TOML file, the reference page and all checks come from this
one declaration. Names are Hugging Face's own wherever one exists.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo


def setting(
    default: Any, meaning: str, *, unit: str = "", common: bool = False, **limits: Any
) -> Any:
    """A field of the form: its default, one or two sentences of help, its unit and its limits.

    ``common`` fields are shown first; the rest of a section starts folded.
    """
    return Field(
        default, description=meaning, json_schema_extra={"unit": unit, "common": common}, **limits
    )


def is_common(field: FieldInfo) -> bool:
    """Whether the form shows this field before its section is unfolded."""
    extra = field.json_schema_extra
    return bool(isinstance(extra, dict) and extra.get("common"))


def unit_of(field: FieldInfo) -> str:
    """The unit to print behind the field's value, or an empty string."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


class Section(BaseModel):
    """Base of the sections: unknown keys are errors, and edits are checked at once."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


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
        "auto", "Attention code. auto takes sdpa, which keeps packed rows apart."
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
        "all-linear, or the names of the layers that get an adapter, for example q_proj, v_proj.",
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
        if isinstance(value, str) and value.strip() != "all-linear":
            return [name.strip() for name in value.split(",") if name.strip()]
        return value.strip() if isinstance(value, str) else value

    @field_validator("target_modules")
    @classmethod
    def some_names(cls, value: str | list[str]) -> str | list[str]:
        if not value:
            raise ValueError("name at least one layer, or write all-linear")
        return value


class DataConfig(Section):
    """Which rows are learned, and how they become tokens."""

    files: list[str] = setting(
        [],
        "Files with the training rows (jsonl, json, csv, tsv, parquet, arrow, txt; also as .gz "
        "and .zst), folders, patterns, or a data set of the hub: owner/name.",
        common=True,
    )
    eval_files: list[str] = setting(
        [], "Own held-out rows. Empty: a part of the training rows is held out.", common=True
    )
    format: Literal["auto", "alpaca", "sharegpt", "messages", "prompt_completion", "text"] = (
        setting(
            "auto",
            "Shape of the rows. auto looks at them; text: learn from all of it.",
        )
    )
    columns: dict[str, str] = setting(
        {},
        "What the file calls our fields, where it has names of its own: prompt=Frage, "
        "completion=Antwort.",
    )
    weights: list[float] = setting(
        [],
        "Shares of the entries of data.files in an epoch, one each, such as 80, 20 for a domain "
        "and general data. Sets that are too small for their share are seen more than once. "
        "Empty: every row once.",
    )
    mix_by: Literal["rows", "tokens"] = setting(
        "rows", "What the shares of data.weights are shares of."
    )
    eval_fraction: float = setting(
        0.1, "Part of the rows held out for evaluation when there is no eval file.", ge=0, le=0.5
    )
    max_train_samples: int | None = setting(
        None, "Use only this many rows, chosen by the seed. Empty: all.", unit="rows", ge=1
    )
    max_length: int = setting(
        2048,
        "Longest row in tokens; what is longer is cut at the end, and counted.",
        unit="tokens",
        common=True,
        ge=16,
        le=1_048_576,
    )
    packing: bool = setting(
        True,
        "Put several short rows into one sequence, without their seeing each other: less padding, "
        "more speed.",
        common=True,
    )
    special_tokens_in_text: Literal["keep", "literal", "reject"] = setting(
        "keep",
        "What a special token's name in a text becomes. keep: that token, as everywhere else. "
        "literal: ordinary text. reject: the row is left out.",
    )
    seed: int = setting(42, "Seed of the shuffle and the split.", ge=0)
    stratify_by: str | None = setting(
        None,
        "Field of the rows, such as a category, whose values keep their shares in the held-out "
        "part. Empty: the split is by chance alone.",
    )
    leaks: Literal["exact", "near"] = setting(
        "exact",
        "Which held-out rows are left out, because the training sees them: those that repeat a "
        "training row, or also those that nearly do. Near ones are counted in any case.",
    )
    overlay: str | None = setting(
        None,
        "File with the rows that were dropped or edited in the inspector, which makes it. The data "
        "itself is never changed. Empty: none.",
    )

    @field_validator("files", "eval_files", mode="before")
    @classmethod
    def split_files(cls, value: object) -> object:
        """Accept one path, or several with commas, from a form field or a flag."""
        if isinstance(value, str):
            return [name.strip() for name in value.split(",") if name.strip()]
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def split_columns(cls, value: object) -> object:
        """Accept ``prompt=Frage, completion=Antwort`` from a form field or a flag."""
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not (ours.strip() and theirs.strip()) for ours, _, theirs in pairs):
            raise ValueError("write our name = the file's name, with commas between")
        return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}

    @field_validator("weights", mode="before")
    @classmethod
    def split_weights(cls, value: object) -> object:
        """Accept ``80, 20`` or ``80:20`` from a form field or a flag."""
        if isinstance(value, str):
            return [part.strip() for part in value.replace(":", ",").split(",") if part.strip()]
        return value

    @field_validator("weights")
    @classmethod
    def above_zero(cls, value: list[float]) -> list[float]:
        if any(weight <= 0 for weight in value):
            raise ValueError("every weight must be above 0; leave out what is not to be learned")
        return value


class CleanConfig(Section):
    """Which rules repair a row or reject it before it is learned; each is counted."""

    line_endings: bool = setting(
        True, "Repair: Windows and old Mac line ends become plain ones, in code as well."
    )
    mojibake: bool = setting(
        True, "Repair: text that was read in the wrong encoding, such as Ã© for é."
    )
    control_characters: bool = setting(
        True,
        "Repair: control characters and invisible ones go. Tabs, line ends and the joiners that "
        "emoji and scripts need stay.",
    )
    html: bool = setting(
        False,
        "Repair: HTML tags go, entities become characters. Code, List<int> and a < b stay. "
        "For text from web pages; not for rows that teach HTML.",
        common=True,
    )
    whitespace: bool = setting(
        False,
        "Repair: repeated spaces and blank lines become one. Code, tables, lists and indentation "
        "stay.",
        common=True,
    )
    empty: bool = setting(True, "Reject: a turn that holds nothing visible once it is repaired.")
    min_answer_chars: int | None = setting(
        None, "Reject: answers shorter than this together.", unit="characters", ge=1
    )
    max_chars: int | None = setting(
        None, "Reject: rows longer than this, all turns together.", unit="characters", ge=1
    )
    min_answer_tokens: int | None = setting(
        None, "Reject: fewer tokens than this that carry loss.", unit="tokens", ge=1
    )
    max_tokens: int | None = setting(
        None,
        "Reject: rows longer than this, instead of cutting them at data.max_length.",
        unit="tokens",
        ge=1,
    )
    placeholders: bool = setting(
        False,
        "Reject: unfilled places such as {{name}}, <your city> or [INSERT DATE]. Off, as some sets "
        "mean them.",
    )
    refusals: bool = setting(
        False, "Reject: answers that refuse, or speak of being an AI language model (English)."
    )
    languages: list[str] = setting(
        [], "Reject: answers surely in another language than these, for example en, de. Empty: all."
    )
    near_duplicates: bool = setting(
        False,
        "Reject: rows that nearly repeat another one. Off, as rows made from one pattern look "
        "alike on purpose; exact repetitions are always rejected.",
        common=True,
    )
    near_threshold: float = setting(
        0.85, "How much of their word groups two rows must share to count as near duplicates.",
        ge=0.5, le=1,
    )  # fmt: skip
    near_keep: Literal["first", "longest_answer"] = setting(
        "first", "Which row of a group of near duplicates is kept."
    )
    secrets: Literal["show", "mask", "drop"] = setting(
        "show",
        "Keys, tokens and passwords that are found: show counts them, mask puts a word in their "
        "place, drop rejects the row.",
        common=True,
    )
    personal_data: Literal["show", "mask", "drop"] = setting(
        "show",
        "E-mail addresses, phone numbers, payment cards, IBANs and IP addresses that are found: "
        "the same choice.",
        common=True,
    )

    @field_validator("languages", mode="before")
    @classmethod
    def split_languages(cls, value: object) -> object:
        """Accept ``en, de`` from a form field or a flag."""
        if isinstance(value, str):
            return [code.strip() for code in value.split(",") if code.strip()]
        return value

    @field_validator("languages")
    @classmethod
    def language_codes(cls, value: list[str]) -> list[str]:
        for code in value:
            if not (2 <= len(code) <= 3 and code.isascii() and code.islower()):
                raise ValueError(f"{code!r} is no language code: write en, de, zh and so on")
        return value


class TrainConfig(Section):
    """How the adapter is trained."""

    num_train_epochs: float = setting(
        3.0, "Passes over the data: 3 to 5 on small sets, 1 or 2 on large ones.",
        unit="epochs", common=True, gt=0, le=1000,
    )  # fmt: skip
    max_steps: int = setting(
        -1, "Stop after this many steps; -1 lets the epochs decide.", unit="steps", ge=-1
    )
    per_device_train_batch_size: int = setting(
        2, "Sequences in one forward pass. Lower it when memory is short.",
        unit="sequences", common=True, ge=1, le=4096,
    )  # fmt: skip
    gradient_accumulation_steps: int = setting(
        8, "Forward passes added up before one step: effective batch = batch size times this.",
        common=True, ge=1, le=65536,
    )  # fmt: skip
    learning_rate: float = setting(
        2e-4, "1e-4 to 3e-4 for LoRA; 5e-5 after NaN; 1e-5 against forgetting.",
        common=True, gt=0, le=1,
    )  # fmt: skip
    lr_scheduler_type: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt", "polynomial"
    ] = setting("cosine", "How the learning rate falls.", common=True)
    warmup_steps: float = setting(
        0.03, "Steps of rising learning rate; below 1 it is a part of all steps.", ge=0
    )
    optim: Literal[
        "paged_adamw_8bit", "adamw_8bit", "paged_adamw_32bit", "adamw_torch_fused", "adamw_torch"
    ] = setting(
        "paged_adamw_8bit",
        "The paged ones move their state to RAM when the GPU runs short.",
    )
    weight_decay: float = setting(0.01, "0.01 to 0.1; 0.05 and more on small data.", ge=0, le=1)
    max_grad_norm: float = setting(1.0, "Gradient clipping; 0.3 for large models.", gt=0, le=1000)
    activation_checkpointing: bool = setting(
        True, "Recompute activations in the backward pass: less memory, about a third more time."
    )
    path: Literal["auto", "peft"] = setting(
        "auto",
        "auto: the fused path where model, adapter and GPU fit it, else PEFT's layers; the log "
        "says which and why. peft: always PEFT's.",
    )
    logging_steps: int = setting(
        1, "A point on the curves every so many steps.", unit="steps", ge=1
    )
    save_steps: int = setting(
        100, "A checkpoint every so many steps; 0 saves only at the end and on request.",
        unit="steps", common=True, ge=0,
    )  # fmt: skip
    save_total_limit: int = setting(
        3, "Checkpoints kept; the best and the newest always stay.", ge=1, le=1000
    )
    seed: int = setting(42, "Seed of initialization, order and dropout.", ge=0, lt=2**32)
    full_determinism: bool = setting(
        False, "Deterministic GPU kernels: slower, and the same bits at every run."
    )


class MemoryConfig(Section):
    """How much memory training may take."""

    limit_gib: float | None = setting(
        None,
        "Device memory that the fused path may fill to save work, CUDA's own GiB included. "
        "Empty: as little as it needs.",
        unit="GiB", gt=0, le=4096,
    )  # fmt: skip


class EvaluateConfig(Section):
    """How the run is judged while it trains."""

    eval_strategy: Literal["steps", "epoch", "no"] = setting(
        "steps", "When the held-out loss is measured.", common=True
    )
    eval_steps: int = setting(
        50, "Measure it every so many steps.", unit="steps", common=True, ge=1
    )
    eval_on_start: bool = setting(True, "Measure once before the first step: the baseline.")
    per_device_eval_batch_size: int = setting(
        2, "Sequences in one forward pass of an evaluation.", unit="sequences", ge=1, le=4096
    )
    early_stopping_patience: int = setting(
        0, "Stop after so many evaluations without gain; 0 never stops early.", ge=0
    )
    early_stopping_threshold: float = setting(0.0, "A smaller gain than this does not count.", ge=0)
    compare_rows: int = setting(
        8, "After a merge, this many held-out rows are answered by base and merged model.",
        unit="rows", ge=0, le=1000,
    )  # fmt: skip
    max_new_tokens: int = setting(
        128, "Longest answer when comparing or generating.", unit="tokens", ge=1, le=8192
    )


class PlaceConfig(Section):
    """The run itself: its name, and where it lives."""

    name: Annotated[str, Field(max_length=100)] = setting(
        "", "Name of the run and of its folder. Empty: made from the model and the data.",
        common=True,
    )  # fmt: skip
    engine_host: Literal["process", "thread"] = setting(
        "process",
        "process: training outlives this screen. thread: inside this program, ends with it.",
    )
    devices: str = setting(
        "auto",
        "auto: the GPU with the most free memory; or an index or UUID; or cpu.",
    )
    max_restarts: int = setting(
        3, "How often a crashed training is started again from its last checkpoint.", ge=0, le=100
    )

    @field_validator("name")
    @classmethod
    def plain_name(cls, value: str) -> str:
        if value and (not all(c.isalnum() or c in "._-" for c in value) or value[0] in ".-"):
            raise ValueError("use letters, digits, dot, dash and underscore; start with a letter")
        return value


class RunConfig(Section):
    """All settings of one run."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    quantization: QuantizationConfig = Field(default_factory=QuantizationConfig)
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    clean: CleanConfig = Field(default_factory=CleanConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    run: PlaceConfig = Field(default_factory=PlaceConfig)

    @property
    def effective_batch(self) -> int:
        """Sequences that one optimizer step learns from."""
        return self.train.per_device_train_batch_size * self.train.gradient_accumulation_steps


def section_fields(section: str) -> dict[str, FieldInfo]:
    """The fields of one section, in the order of the form."""
    annotation = RunConfig.model_fields[section].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, Section)
    return annotation.model_fields


SECTIONS: tuple[str, ...] = tuple(RunConfig.model_fields)
"""Section names, in the order of the form."""
