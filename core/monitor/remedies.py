"""From an exception to what a person can do about it: one catalog, matched by name and text.

Torch-free: errors of torch and its kin are told by their class names and messages.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from core.config.errors import FailedError, FinetuiError, InputError


@dataclass(frozen=True)
class Signature:
    """How one kind of error looks, what it means, and what helps.

    ``pattern`` is searched in ``ClassName BaseName: message``, or in the end of a log. What the
    person asked for wrongly is ``bad_input``: it ends with exit code 2.
    """

    kind: str
    meaning: str
    remedies: tuple[str, ...]
    pattern: str
    bad_input: bool = False


CATALOG: tuple[Signature, ...] = (
    Signature(
        "out_of_memory",
        "The GPU's memory is full",
        (
            "lower data.max_length",
            "set train.optim to paged_adamw_8bit, or lower adapter.r",
            "on the fused path: lower memory.limit_gib, to leave room for other programs",
            "on PEFT's layers: lower train.per_device_train_batch_size and raise "
            "train.gradient_accumulation_steps by the same factor (the effective batch stays), "
            "switch on train.activation_checkpointing, or name fewer adapter.target_modules",
        ),
        pattern=r"\bOutOfMemoryError|CUDA out of memory|CUDA error: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED",
    ),
    Signature(
        "shared_memory",
        "The shared memory in /dev/shm is too small",
        ("in a container: start it with --shm-size=2g or --ipc=host",),
        pattern=r"insufficient shared memory|unable to (open|write to|mmap).*shared memory"
        r"|\bbus error",
    ),
    Signature(
        "out_of_host_memory",
        "The machine's memory (RAM) is full",
        (
            "close other programs, or take a machine with more RAM",
            "set data.max_train_samples",
            "keep quantization.load_in_4bit on",
        ),
        pattern=r"\b(Arrow)?MemoryError|DefaultCPUAllocator: can't allocate|Cannot allocate memory",
    ),
    Signature(
        "disk_full",
        "The disk is full",
        (
            "free some room, or choose another disk with --runs",
            "keep fewer checkpoints of a run: lower train.save_total_limit",
        ),
        pattern=r"No space left on device|Disk quota exceeded|Errno 28\b|Errno 122\b",
    ),
    Signature(
        "file_too_large",
        "A file may not become larger: a limit of the shell or of the disk's format ends it",
        (
            "lift the shell's limit: ulimit -f unlimited",
            "or choose another disk: --runs for runs, TMPDIR for what is kept for a while",
        ),
        pattern=r"File too large|Errno 27\b",
    ),
    Signature(
        "gated_model",
        "The model is gated: its owner wants a login, and perhaps an agreement",
        (
            "accept the terms on the model's page",
            "log in with hf auth login, or set HF_TOKEN",
        ),
        pattern=r"GatedRepoError|gated repo|access to model .* is restricted",
    ),
    Signature(
        "hub_unreachable",
        "The model hub cannot be reached, and what is needed is not in the cache",
        (
            "check the network, or set HF_ENDPOINT to a mirror",
            "or set model.name_or_path to a local folder",
            "without a network on purpose: unset HF_HUB_OFFLINE once, and fetch the model",
        ),
        pattern=r"OfflineModeIsEnabled|couldn't connect to|outgoing traffic has been disabled"
        r"|offline mode is enabled"
        r"|LocalEntryNotFound|Name or service not known|Temporary failure in name resolution"
        r"|Max retries exceeded|Network is unreachable|cannot find the requested files in the"
        r" (local|disk) cache",
    ),
    Signature(
        "no_model",
        "The model cannot be loaded: there is none of this name, or files of it are missing",
        (
            "check model.name_or_path: a folder with config.json and safetensors, or a hub id",
            "check model.revision",
        ),
        pattern=r"is not a local folder and is not a valid model identifier|Repository ?Not ?Found"
        r"|does not appear to have a file named|no file named (model|pytorch_model)"
        r"|Error no file named|Revision ?Not ?Found",
        bad_input=True,
    ),
    Signature(
        "unknown_architecture",
        "The installed transformers does not know this kind of model",
        ("take another base model", "see the tested versions with finetui doctor"),
        pattern=r"does not recognize this architecture|Unrecognized (model|configuration class)",
        bad_input=True,
    ),
    Signature(
        "damaged_weights",
        "A file of weights is damaged or was not fetched to its end",
        ("fetch the model again", "a git-lfs pointer is not the file: run git lfs pull"),
        pattern=r"HeaderTooLarge|HeaderTooSmall|InvalidHeader|MetadataIncompleteBuffer"
        r"|incomplete metadata, file not fully covered",
        bad_input=True,
    ),
    Signature(
        "unknown_target_module",
        "adapter.target_modules names layers that this model does not have",
        ("set adapter.target_modules to all-linear, or to the model's own linear layers",),
        pattern=r"Target modules? .*not found in the base model|No modules were targeted",
        bad_input=True,
    ),
    Signature(
        "no_device",
        "The GPU that was asked for is not there",
        ("set run.devices to auto, or to a GPU that finetui doctor lists",),
        pattern=r"invalid device ordinal|No CUDA GPUs are available|no CUDA-capable device"
        r"|found no NVIDIA driver",
        bad_input=True,
    ),
    Signature(
        "cuda_mismatch",
        "The NVIDIA driver is too old for the CUDA of the installed torch",
        (
            "update the driver, or install the torch build for the driver's CUDA version",
            "finetui doctor shows both versions",
        ),
        pattern=r"driver version is insufficient|driver on your system is too old"
        r"|CUDA version mismatch|provided PTX was compiled with an unsupported toolchain",
    ),
    Signature(
        "cuda_mismatch",
        "The installed torch has no code for this GPU",
        ("install a torch build that supports the GPU", "or set run.devices to cpu"),
        pattern=r"no kernel image is available",
    ),
    Signature(
        "bitsandbytes_broken",
        "bitsandbytes does not find its compiled library, so nothing can be quantized",
        (
            "reinstall it: python -m pip install --force-reinstall bitsandbytes",
            "check LD_LIBRARY_PATH for another CUDA",
            "or train unquantized: quantization.load_in_4bit false",
        ),
        pattern=r"libbitsandbytes|cannot find libcudart|libcudart\.so|libcusparse"
        r"|compiled without GPU support|CUDA Setup failed",
    ),
    Signature(
        "bitsandbytes_broken",
        "bitsandbytes is missing or too old, so nothing can be quantized",
        ("install the tested version; finetui doctor names it",),
        pattern=r"(requires|install|using).{0,60}bitsandbytes|No module named 'bitsandbytes'",
    ),
    Signature(
        "not_a_number",
        "The loss became NaN: the learning rate is too high, or rows are broken",
        (
            "lower train.learning_rate to 5e-5",
            "lower train.max_grad_norm to 0.5",
            "set quantization.bnb_4bit_compute_dtype to bfloat16 where the GPU has it",
            "look at the rows around the last good step in the data pane",
        ),
        pattern=r"loss (is|became|was) (nan|inf)|\bNaN or Inf\b|contains? NaN|non-finite"
        r"|probability tensor contains either",
    ),
    Signature(
        "wrong_encoding",
        "A data file is not UTF-8 text",
        ("convert it, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW", "check data.files"),
        pattern=r"\bUnicodeDecodeError",
        bad_input=True,
    ),
    Signature(
        "not_prepared",
        "The data never became tokens: it did not pass the template and the tokenizer",
        ("prepare it first: finetui prepare RUN.toml", "check data.format"),
        pattern=r"\bKeyError\b.*: ['\"](input_ids|labels)['\"]$",
    ),
    Signature(
        "no_chat_template",
        "The model's tokenizer has no chat template",
        ("take the instruct version of the model, or one with chat_template.jinja",),
        pattern=r"chat_template is not set|does not have a chat template|no chat template",
        bad_input=True,
    ),
    Signature(
        "no_gradient",
        "No gradient reaches the adapter, so nothing would be learned",
        ("switch off train.activation_checkpointing once, and report this model",),
        pattern=r"does not require grad and does not have a grad_fn"
        r"|None of the inputs have requires",
    ),
    Signature(
        "different_devices",
        "A part of the model and its inputs lie on different devices",
        ("set run.devices to one GPU",),
        pattern=r"Expected all tensors to be on the same device",
    ),
    Signature(
        "version_mismatch",
        "The installed libraries do not fit each other",
        ("install the tested set; finetui doctor lists what differs",),
        pattern=r"unexpected keyword argument|cannot import name|module '[\w.]+' has no attribute",
    ),
    Signature(
        "missing_library",
        "A library is missing from this environment",
        ("install the tested set; finetui doctor lists what is missing",),
        pattern=r"\bModuleNotFoundError",
    ),
    Signature(
        "too_many_files",
        "Too many files are open",
        ("raise the limit: ulimit -n 4096",),
        pattern=r"Too many open files",
    ),
    Signature(
        "gpu_fault",
        "The GPU or its driver failed in the middle of the work",
        (
            "resume the run: it goes on from its last checkpoint",
            "look for Xid lines in dmesg; a reset or a reboot may be needed",
        ),
        pattern=r"CUDA error: (an illegal memory access|unspecified launch failure"
        r"|device-side assert|uncorrectable ECC|unknown error)|GPU is lost|fell off the bus",
    ),
    Signature(
        "no_permission",
        "A file or folder may not be read or written by this user",
        ("check the owner and the mode of the path in the message", "choose --runs elsewhere"),
        pattern=r"\bPermissionError",
        bad_input=True,
    ),
    Signature(
        "no_file",
        "A file or folder is not there",
        ("check the path in the message",),
        pattern=r"\bFileNotFoundError",
        bad_input=True,
    ),
)


def explain(error: BaseException) -> FinetuiError:
    """What went wrong, as an error a person is meant to read.

    FinetuiErrors pass unchanged. Causes are looked at too, the outermost first. What the catalog
    does not know keeps its own first line, with kind ``unexpected``.
    """
    for link in _chain(error):
        if isinstance(link, FinetuiError):
            return link
        names = [kind.__name__ for kind in type(link).__mro__ if kind is not object]
        found = _lookup(f"{' '.join(names)}: {link}")
        if found is not None:
            return _build(found, _first_line(link))
    return FailedError(
        f"{type(error).__name__}: {_first_line(error)}" if str(error) else type(error).__name__,
        kind="unexpected",
        remedies=("worker.log in the run's folder holds the whole story",),
    )


def explain_exit(code: int, last_words: str = "") -> FinetuiError:
    """Why a worker process ended, from its exit code (negative: a signal) and the log's end."""
    if code == -signal.SIGKILL:
        return FailedError(
            "The worker was killed from outside, most likely by the system because the machine's "
            "memory (RAM) was full",
            kind="killed",
            remedies=(
                "look with: journalctl -k | grep -i 'out of memory'",
                "close other programs, or take a machine with more RAM",
            ),
        )
    found = _lookup(last_words) if last_words else None
    if found is not None:
        return _build(found, "")
    if code < 0:
        try:
            what = signal.Signals(-code).name
        except ValueError:
            what = f"signal {-code}"
        return FailedError(
            f"The worker was ended by {what}",
            kind="crashed",
        )
    return FailedError(f"The worker ended with code {code}", kind="crashed")


def _lookup(text: str) -> Signature | None:
    flags = re.IGNORECASE | re.MULTILINE
    return next((one for one in CATALOG if re.search(one.pattern, text, flags)), None)


def _build(found: Signature, detail: str) -> FinetuiError:
    message = f"{found.meaning} ({detail})" if detail else found.meaning
    kind = InputError if found.bad_input else FailedError
    return kind(message, kind=found.kind, remedies=found.remedies)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 300 else f"{line[:297]}..."
