"""The one caller of from_pretrained: tokenizer and base model, quantized or not.

Everything that could run code from a model's repository is shut here: safetensors only, no remote
code, no binary kernels from the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.config.errors import FailedError, InputError, first_line
from core.config.hub import local_folder
from core.config.schema import RunConfig
from core.data.tokens.codec import ChatCodec, pad_token
from core.model import kernels
from core.model.shapes import configured, shape_of

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

kernels.block()

Progress = Callable[[int, int], None]
"""Told how many of how many weights are loaded."""

TABLES = {"embedding": "model.embed_tokens", "head": "lm_head"}
"""Where the models that the fused path knows have their two large unquantized weights."""


def device_of(config: RunConfig) -> str:
    """Where this process computes: ``cuda:0`` or ``cpu``.

    The launcher has already narrowed CUDA_VISIBLE_DEVICES to the chosen GPU. Raises InputError
    when a GPU is asked for by name and torch sees none.
    """
    wanted = config.run.devices.strip().lower()
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda:0"
    if wanted in ("auto", ""):
        return "cpu"
    raise InputError(
        f"run.devices asks for GPU {config.run.devices}, but torch sees no GPU",
        kind="no_gpu",
        remedies=(
            "check nvidia-smi, and that the driver fits the CUDA version of torch",
            "or set run.devices to cpu",
        ),
    )


def compute_dtype(config: RunConfig, device: str) -> torch.dtype:
    """Precision of the matrix products with a quantized base."""
    return _dtype(config.quantization.bnb_4bit_compute_dtype, device)


def storage_dtype(config: RunConfig, device: str) -> torch.dtype:
    """Precision of everything that stays unquantized: embeddings, norms, an unquantized base."""
    return _dtype(config.model.dtype, device)


def _dtype(name: str, device: str) -> torch.dtype:
    if name != "auto":
        dtype = getattr(torch, name)
        assert isinstance(dtype, torch.dtype)
        return dtype
    if device == "cpu":
        # NF4 layers of width 576, one AVX2 core: forward and backward take 0.25 s in fp32 and
        # 5.3 s in bf16, which such a processor has to emulate.
        return torch.float32
    major, _ = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if major >= 8 else torch.float16


def load_tokenizer(config: RunConfig, source: Path | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer with the pad token and chat template that the data was made with.

    It pads on the left. ``source`` takes it from a folder instead, such as a merged model. Raises
    InputError when there is none.
    """
    from transformers import AutoTokenizer

    name, revision = _origin(config, source)
    codec = ChatCodec.load(name, revision)
    with _explained(name):
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=revision, trust_remote_code=False, padding_side="left"
        )
    tokenizer.pad_token = pad_token(codec)[1]
    tokenizer.chat_template = codec.template.source
    return tokenizer


def load_base(
    config: RunConfig,
    *,
    quantized: bool,
    device: str,
    source: Path | None = None,
    dtype: torch.dtype | None = None,
    on_host: frozenset[str] = frozenset(),
    on_progress: Progress | None = None,
) -> PreTrainedModel:
    """The frozen base model on ``device``, in evaluation mode, with no parameter that learns.

    ``on_host`` names those of ``TABLES`` that stay in RAM: they never touch the device.

    ``quantized`` applies config.quantization; otherwise the weights come in ``dtype`` (default:
    what config.model.dtype means on the device). ``source`` loads a folder in place of the
    configured model. Raises InputError for a model that cannot be used and FailedError when the
    machine cannot hold it; whatever ``on_progress`` raises passes through.
    """
    from transformers import AutoModelForCausalLM, modeling_utils

    name, revision = _origin(config, source)
    _check_plain(name, revision)
    attention = config.model.attn_implementation
    if attention == "auto":
        attention = "eager" if configured(name, revision).eager else "sdpa"
    if device == "cpu" or not hasattr(modeling_utils, "accelerate_dispatch"):
        on_host = frozenset()
    with progress_bars(on_progress), _explained(name), _left_on_host(on_host):
        model, report = AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            dtype=dtype or storage_dtype(config, device),
            quantization_config=_quantization(config, device, on_host) if quantized else None,
            # A map that names the CPU makes a later save_pretrained think of offloaded weights.
            device_map=_places(device, on_host) if quantized or device != "cpu" else None,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            # Both make the report complete; what it names is refused below.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check_complete(name, report)
    model.requires_grad_(False)
    model.config.use_cache = False
    _keep_gradients(model)
    return model.eval()


def to_device(model: PreTrainedModel, device: str) -> None:
    """Bring what ``load_base`` left in RAM to the device after all.

    Raises FailedError when it does not fit there.
    """
    with _explained(model.config.name_or_path):
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            part.to(device)


def _places(device: str, on_host: frozenset[str]) -> dict[str, str]:
    return {"": device} | {TABLES[name]: "cpu" for name in sorted(on_host)}


@contextmanager
def _left_on_host(on_host: frozenset[str]) -> Iterator[None]:
    """Keep what lies in RAM there.

    accelerate would put hooks on all modules, which copy it to the device in every forward pass.
    """
    from transformers import modeling_utils

    if not on_host:
        yield
        return
    dispatch = modeling_utils.accelerate_dispatch
    modeling_utils.accelerate_dispatch = lambda *_, **__: None
    try:
        yield
    finally:
        modeling_utils.accelerate_dispatch = dispatch


def _origin(config: RunConfig, source: Path | None) -> tuple[str, str | None]:
    if source is not None:
        return str(source), None
    folder = local_folder(config.model.name_or_path)
    return (str(folder), None) if folder else (config.model.name_or_path, config.model.revision)


def _check_plain(name: str, revision: str | None) -> None:
    """Refuse what is no plain safetensors model, before the slow part starts."""
    shape = shape_of(name, revision)
    if shape.quantization:
        raise InputError(
            f"{name} is already quantized ({shape.quantization}); it could be neither quantized "
            "again nor merged",
            kind="already_quantized",
            remedies=("name the original 16-bit model: it is quantized while it loads",),
        )
    if (Path(name) / "adapter_config.json").is_file():
        raise InputError(
            f"{name} holds an adapter beside the model, which would be loaded with it unseen",
            kind="not_a_base",
            remedies=("name the base model, or move adapter_config.json out of its folder",),
        )


def _quantization(
    config: RunConfig, device: str, on_host: frozenset[str]
) -> BitsAndBytesConfig | None:
    from transformers import BitsAndBytesConfig

    wish = config.quantization
    if wish.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    if not wish.load_in_4bit:
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=wish.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=wish.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=compute_dtype(config, device),
        # A map with the CPU in it is refused without this; nothing becomes fp32 by it.
        llm_int8_enable_fp32_cpu_offload=bool(on_host),
    )


def _check_complete(name: str, report: dict[str, Any]) -> None:
    """Refuse weights that did not fit: transformers would fill the holes with random numbers."""
    missing = sorted(map(str, report["missing_keys"]))
    mismatched = sorted(str(key) for key, *_ in report["mismatched_keys"])
    if missing or mismatched or report["error_msgs"]:
        wrong = [*missing, *mismatched, *map(str, report["error_msgs"])]
        raise InputError(
            f"the weights of {name} do not fit its config.json: {len(wrong)} tensors are missing "
            f"or of another shape, such as {wrong[0]}",
            kind="bad_weights",
            remedies=("download the model again",),
        )


def _keep_gradients(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking NF4 weights at the first forward in evaluation mode.

    On CPUs with AVX512-BF16 no gradient would flow through the base from then on, and the loss
    would silently stop falling.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what from_pretrained raises into errors that a person can act on."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FailedError(
            f"{name} does not fit into the GPU's memory",
            kind="out_of_memory",
            remedies=(
                "close other programs on this GPU, or choose another with run.devices",
                "load it in 4 bit (quantization.load_in_4bit), or take a smaller model",
            ),
        ) from error
    except (SafetensorError, EOFError) as error:
        raise InputError(
            f"the weights of {name} cannot be read: {first_line(error)}",
            kind="bad_weights",
            remedies=("download the model again",),
        ) from error
    except ImportError as error:
        raise FailedError(
            f"{name} needs a package that is not usable here: {first_line(error)}",
            kind="missing_package",
            remedies=("install finetui again with its pinned versions (constraints.txt)",),
        ) from error
    except StrictDataclassError as error:
        raise InputError(
            f"config.json of {name} holds what no such model has: {' '.join(str(error).split())}",
            kind="bad_model",
            remedies=("take the config.json that the model came with, or download it again",),
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _input_error(name, error) from error


def _input_error(name: str, error: Exception) -> InputError:
    text = str(error)
    if "gated" in text or "401" in text or "403" in text:
        return InputError(
            f"{name} is gated: you may not read it yet",
            kind="gated",
            remedies=("ask for access on its page, then log in with: hf auth login",),
        )
    if "contains custom code" in text:
        return InputError(
            f"{name} brings code of its own, which is not run: it could do anything on this "
            "machine",
            kind="own_code",
            remedies=(
                "take a model of an architecture that transformers itself knows, such as Llama "
                "or Qwen; many models with code of their own have such a version",
            ),
        )
    if "Unrecognized model in" in text:
        return InputError(
            f"{name} cannot be loaded: its config.json names no model_type that this version of "
            "transformers knows",
            kind="unknown_architecture",
            remedies=("take the config.json that the model came with, or download it again",),
        )
    if "model type" in text or "Unrecognized configuration class" in text:
        return InputError(
            f"{name} is no causal language model that this version of transformers knows: "
            f"{first_line(error)}",
            kind="unknown_architecture",
            remedies=("take a text model of a known architecture, such as Llama or Qwen",),
        )
    if "does not support an attention implementation" in text:
        return InputError(
            f"{name} has no attention of this kind: its code knows eager alone",
            kind="no_attention",
            remedies=(
                "set model.attn_implementation to eager, and data.packing to no: whether its "
                "eager attention keeps packed rows apart is not known",
            ),
        )
    return InputError(
        f"{name} cannot be loaded: {first_line(error)}",
        kind="no_model",
        remedies=("check the folder or hub id, and that it has safetensors weights",),
    )


@contextmanager
def progress_bars(on_progress: Progress | None) -> Iterator[None]:
    """Take the place of transformers' progress bars, which would write over a screen."""
    from transformers.utils import logging

    logging.disable_progress_bar()

    def bar(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        items = args[0] if args else kwargs.get("iterable")
        if on_progress is None or items is None:
            return factory(*args, **kwargs)
        return _counted(items, on_progress)

    previous = logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)


def _counted(items: Any, on_progress: Progress) -> Iterator[Any]:
    """Pass items through and tell at most a hundred times how many there were."""
    total = len(items)
    every = max(1, total // 100)
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0 or number == total:
            on_progress(number, total)
