"""Which device a run takes, and how a mask from outside is respected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_nvml import GIB, FakeNvml
from fake_nvml import Gpu as FakeGpu

from core.config.errors import InputError
from core.monitor.devices import Chosen, Gpu, Listing, environment, listing, pick, visible

A = Gpu(0, "GPU-aaaa-1", "A100", 10 * GIB, 40 * GIB)
B = Gpu(1, "GPU-abbb-2", "H100", 70 * GIB, 80 * GIB)
C = Gpu(2, "GPU-cccc-3", "H100", 60 * GIB, 80 * GIB)
THREE = Listing((A, B, C))
NONE = Listing(why="no GPU: there is no NVIDIA driver on this machine")


def test_listing_tells_who_uses_a_gpu(nvml: Callable[..., FakeNvml]) -> None:
    import os

    fake = nvml(FakeGpu("GPU-a", used=3 * GIB, processes=[(os.getpid(), 3 * GIB)]))
    (gpu,) = listing().gpus
    assert (gpu.uuid, gpu.free_bytes, gpu.total_bytes) == ("GPU-a", 77 * GIB, 80 * GIB)
    assert gpu.bf16
    assert gpu.users[0].pid == os.getpid()
    assert "py" in gpu.users[0].name
    assert fake.opened == 0


def test_listing_shows_mig_slices_and_says_why_it_is_empty(nvml: Callable[..., FakeNvml]) -> None:
    nvml(FakeGpu("GPU-a", slices=[FakeGpu("MIG-1"), FakeGpu("MIG-2")]))
    assert [gpu.uuid for gpu in listing().gpus] == ["MIG-1", "MIG-2"]
    nvml(missing=True)
    assert listing() == NONE
    nvml()
    assert listing().why == "no GPU: the NVIDIA driver shows none"


@pytest.mark.parametrize(
    ("devices", "mask", "uuid"),
    [
        ("auto", None, B.uuid),
        ("", None, B.uuid),
        ("auto", "0,2", C.uuid),
        ("auto", "GPU-aaaa-1", A.uuid),
        ("auto", "GPU-aa", A.uuid),
        ("0", None, A.uuid),
        ("cuda:2", None, C.uuid),
        ("1", "2,0", A.uuid),
        ("0", "GPU-cccc-3,GPU-aaaa-1", C.uuid),
        ("GPU-cccc-3", None, C.uuid),
        ("gpu-c", None, C.uuid),
        ("cpu", None, None),
        ("CPU", "0", None),
        ("auto", "", None),
        ("auto", "-1", None),
    ],
)
def test_pick(devices: str, mask: str | None, uuid: str | None) -> None:
    environ = {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}
    assert pick(devices, THREE, environ).uuid == uuid


def test_auto_says_why() -> None:
    assert pick("auto", THREE, {}).why == "GPU 1 has the most free memory: 70.0 GiB"
    assert pick("auto", Listing((A,)), {}).why == "the only GPU"
    assert pick("auto", NONE, {}) == Chosen(None, "CPU", NONE.why)
    assert "hides the GPUs" in pick("auto", THREE, {"CUDA_VISIBLE_DEVICES": ""}).why


@pytest.mark.parametrize(
    ("devices", "mask", "words"),
    [
        ("3", None, "0 (A100, 10.0 GiB free), 1 (H100, 70.0 GiB free)"),
        ("1", "2", "within CUDA_VISIBLE_DEVICES=2; there is 0 = GPU 2 (H100, 60.0 GiB free)"),
        ("GPU-bbbb", "0", "no such GPU"),
        ("GPU-a", None, "no such GPU"),  # fits two
        ("0,1", None, "a run takes one GPU"),
        ("tpu", None, "no such GPU"),
        ("0", "", "hides the GPUs"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(
    devices: str, mask: str | None, words: str
) -> None:
    environ = {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}
    with pytest.raises(InputError, match="invalid device") as caught:
        pick(devices, THREE, environ)
    assert words in caught.value.message
    assert caught.value.remedies
    assert caught.value.kind == "no_device"


def test_asking_for_a_gpu_on_a_machine_without_one() -> None:
    with pytest.raises(InputError, match="no NVIDIA driver"):
        pick("0", NONE, {})


def test_a_mask_ends_at_its_first_wrong_entry() -> None:
    assert visible(THREE.gpus, "1,9,0") == (B,)
    assert visible(THREE.gpus, "1,1") == (B,)
    assert visible(THREE.gpus, "NoDevFiles") == ()


def test_the_worker_sees_only_the_chosen_device() -> None:
    added = environment(Chosen("GPU-x", "H100", ""), {})
    assert added["CUDA_VISIBLE_DEVICES"] == "GPU-x"
    assert added["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert added["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert added["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    assert added["PYTHONSAFEPATH"] == "1"
    assert added["TOKENIZERS_PARALLELISM"] == "false"
    assert environment(Chosen(None, "CPU", ""), {})["CUDA_VISIBLE_DEVICES"] == ""


def test_the_users_own_allocator_setting_stays() -> None:
    added = environment(Chosen("GPU-x", "H100", ""), {"PYTORCH_CUDA_ALLOC_CONF": "mine"})
    assert not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(added)
