"""The catalog: messages as the libraries word them, and what we make of them."""

from __future__ import annotations

import pytest

from core.config.errors import FailedError, InputError, RefusedError
from core.config.schema import SECTIONS, section_fields
from core.monitor.remedies import CATALOG, explain, explain_exit

OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})
RepositoryNotFoundError = type("RepositoryNotFoundError", (OSError,), {})
GatedRepoError = type("GatedRepoError", (RepositoryNotFoundError,), {})
LocalEntryNotFoundError = type("LocalEntryNotFoundError", (FileNotFoundError,), {})
SafetensorError = type("SafetensorError", (Exception,), {})

CASES: list[tuple[BaseException, str]] = [
    (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_memory"),
    (OutOfMemoryError("Allocation failed"), "out_of_memory"),
    (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "out_of_memory"),
    (MemoryError(), "out_of_host_memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_host_memory"),
    (OSError(28, "No space left on device", "x.safetensors"), "disk_full"),
    (OSError(122, "Disk quota exceeded"), "disk_full"),
    (OSError(27, "File too large"), "file_too_large"),
    (GatedRepoError("403 Client Error. Cannot access gated repo for url"), "gated_model"),
    (OSError("You are trying to access a gated repo."), "gated_model"),
    (OSError("We couldn't connect to the hub to load the files"), "hub_unreachable"),
    (LocalEntryNotFoundError("outgoing traffic has been disabled"), "hub_unreachable"),
    (RepositoryNotFoundError("401 Client Error. Repository Not Found for url"), "no_model"),
    (OSError("m is not a local folder and is not a valid model identifier"), "no_model"),
    (OSError("Error no file named model.safetensors found in directory"), "no_model"),
    (ValueError("The checkpoint does not recognize this architecture"), "unknown_architecture"),
    (SafetensorError("Error while deserializing header: HeaderTooLarge"), "damaged_weights"),
    (
        ValueError("Target modules {'q_porj'} not found in the base model. Please check"),
        "unknown_target_module",
    ),
    (RuntimeError("CUDA error: invalid device ordinal"), "no_device"),
    (RuntimeError("No CUDA GPUs are available"), "no_device"),
    (RuntimeError("The NVIDIA driver on your system is too old (found 11040)"), "cuda_mismatch"),
    (RuntimeError("CUDA error: no kernel image is available for execution"), "cuda_mismatch"),
    (OSError("libcudart.so.12: cannot open shared object file"), "bitsandbytes_broken"),
    (RuntimeError("module not compiled: libbitsandbytes_cuda130.so"), "bitsandbytes_broken"),
    (
        ImportError("Using `bitsandbytes` 4-bit quantization requires bitsandbytes: pip install"),
        "bitsandbytes_broken",
    ),
    (ModuleNotFoundError("No module named 'bitsandbytes'"), "bitsandbytes_broken"),
    (ModuleNotFoundError("No module named 'triton'"), "missing_library"),
    (ValueError("the loss became NaN at step 3"), "not_a_number"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "wrong_encoding"),
    (KeyError("input_ids"), "not_prepared"),
    (ValueError("tokenizer.chat_template is not set"), "no_chat_template"),
    (RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn"),
     "no_gradient"),
    (RuntimeError("Expected all tensors to be on the same device, but found"), "different_devices"),
    (TypeError("__init__() got an unexpected keyword argument 'max_seq_length'"),
     "version_mismatch"),
    (ImportError("cannot import name 'x' from 'peft'"), "version_mismatch"),
    (RuntimeError("unable to write to file </torch_1>: insufficient shared memory"),
     "shared_memory"),
    (OSError(24, "Too many open files"), "too_many_files"),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), "gpu_fault"),
    (PermissionError(13, "Permission denied", "runs"), "no_permission"),
    (FileNotFoundError(2, "No such file or directory", "a.jsonl"), "no_file"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind"), CASES, ids=lambda value: str(value)[:40])
def test_known_errors_are_explained(error: BaseException, kind: str) -> None:
    explained = explain(error)
    assert explained.kind == kind
    assert explained.remedies
    assert "\n" not in explained.message


def test_every_signature_is_covered_by_a_case() -> None:
    assert {signature.kind for signature in CATALOG} == {kind for _, kind in CASES}


def test_remedies_name_only_settings_that_exist() -> None:
    import re

    known = {f"{section}.{key}" for section in SECTIONS for key in section_fields(section)}
    for signature in CATALOG:
        for remedy in signature.remedies:
            named = re.findall(rf"\b(?:{'|'.join(SECTIONS)})\.[a-z_0-9]+", remedy)
            assert set(named) <= known, remedy


def test_our_own_errors_pass_through() -> None:
    refused = RefusedError("it is there already")
    assert explain(refused) is refused
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = refused
    assert explain(wrapped) is refused


def test_a_cause_is_looked_at() -> None:
    error = RuntimeError("could not save")
    error.__cause__ = OSError(28, "No space left on device")
    assert explain(error).kind == "disk_full"


def test_bad_input_ends_with_code_two_and_the_rest_with_one() -> None:
    assert isinstance(explain(FileNotFoundError(2, "x", "y")), InputError)
    assert isinstance(explain(MemoryError()), FailedError)


def test_an_unknown_error_keeps_its_first_line() -> None:
    explained = explain(RuntimeError("odd thing\nat line 3"))
    assert explained.kind == "unexpected"
    assert explained.message == "RuntimeError: odd thing"
    assert explain(ZeroDivisionError()).message == "ZeroDivisionError"
    assert len(explain(RuntimeError("x" * 5000)).message) < 400


@pytest.mark.parametrize(
    ("code", "words", "kind", "said"),
    [
        (-9, "", "killed", "memory (RAM)"),
        (-11, "", "crashed", "SIGSEGV"),
        (1, "Traceback ...\ntorch.OutOfMemoryError: CUDA out of memory", "out_of_memory", "GPU"),
        (-6, "OSError: [Errno 28] No space left on device", "disk_full", "disk"),
        (7, "bye", "crashed", "code 7"),
    ],
)
def test_why_a_worker_ended(code: int, words: str, kind: str, said: str) -> None:
    explained = explain_exit(code, words)
    assert explained.kind == kind
    assert said in explained.message
