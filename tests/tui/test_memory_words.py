"""The words for an estimate."""

from __future__ import annotations

import pytest

from core.config.files import from_overrides
from core.model.fits import Fit
from core.model.memory import Estimate
from tui.memory import line, more, verdict

GIB = 1 << 30


@pytest.mark.parametrize(
    ("total", "free", "said"),
    [
        (5.4, 5.38, "5.40 GiB, and 5.38 are free"),
        (5.4, 5.3996, "5.4000 GiB, and 5.3996 are free"),
        (24.6, 24.0, "24.6 GiB, and 24.0 are free"),
    ],
)  # fmt: skip
def test_two_sizes_are_told_apart(total: float, free: float, said: str) -> None:
    found = Estimate(int(total * GIB), *[0] * 10)
    fit = Fit(found, "a GPU", int(free * GIB), True)
    assert f"does not fit: {said} on a GPU" in verdict(fit)
    assert line(fit).startswith("Memory est. " + said.split(" are ")[0].replace(" GiB, and", " of"))


def test_each_part_stands_under_its_own_name() -> None:
    found = Estimate(*(number * GIB for number in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)))
    told = (
        "weights 7.0 · adapter 56.0 · activations 192.0 · loss 256.0 · scratch 512.0 · "
        "context 1024.0"
    )
    fit = Fit(found, "a GPU", GIB, True)
    assert line(fit).endswith(told)
    assert f"GiB: {told}" in more(fit)


def test_a_limit_is_told_as_it_was_set_and_apart_from_the_total() -> None:
    found = Estimate(*[0] * 6, int(5.432 * GIB), *[0] * 4)
    for limit, total, said in ((5.4, "5.43", "5.4"), (5.4315, "5.432", "5.4315"), (4, "5.4", "4")):
        fit = Fit(found, "a GPU", 79 * GIB, True, int(limit * GIB))
        assert f"{total} GiB, and memory.limit_gib allows {said}. Lower" in verdict(fit)
        assert line(fit).startswith(f"Memory est. {total} of {said} GiB limit ✗ does not fit")
    enough = Fit(found, "a GPU", int(5.44 * GIB), True, int(5.435 * GIB))
    assert verdict(enough).startswith("fits: 5.43 of 5.44 GiB")
    assert line(enough).startswith("Memory est. 5.4 of 5.435 GiB limit fits")


def advised(settings: dict[str, str], room: float, **parts: float) -> str:
    """What is advised for an estimate of these GiB in so much room."""
    sizes = dict.fromkeys(
        ("weights", "head", "embedding", "adapter", "gradients", "optimizer", "activations",
         "layer", "loss", "scratch", "context"), 0
    )  # fmt: skip
    path = str(settings.pop("path", "PEFT"))
    found = Estimate(**(sizes | {name: int(n * GIB) for name, n in parts.items()}), path=path)
    config = from_overrides(settings).config
    return verdict(Fit(found, "a GPU", int(room * GIB), True, config=config)).partition(". ")[2]


def test_what_helps_is_what_takes_the_memory() -> None:
    batch, length = "train.per_device_train_batch_size", "data.max_length"
    whole = {"train.activation_checkpointing": "no"}
    parts = {"weights": 5.3, "context": 0.9, "adapter": 0.4, "activations": 40.0}
    checkpointing = "Set train.activation_checkpointing to yes, lower "
    rest = "or take a smaller model"
    assert advised({}, 24, **parts) == f"Lower {batch} or {length}, {rest}"
    assert advised({batch: "1"}, 24, **parts) == f"Lower {length}, {rest}"
    assert advised(whole, 24, **parts) == f"{checkpointing}{batch} or {length}, {rest}"
    large = parts | {"adapter": 50.0}
    assert advised(whole, 24, **large) == f"Lower adapter.r, {batch} or {length}, {rest}"
    fused = {"path": "fused", "train.activation_checkpointing": "no"}
    assert advised(fused, 24, **parts) == f"Lower adapter.r or {length}, {rest}"


def test_where_weights_alone_are_too_much_no_setting_of_the_batch_is_named() -> None:
    parts = {"weights": 5.3, "context": 0.9, "activations": 40.0}
    alone = "Its weights and CUDA alone take 6.2 GiB: "
    assert advised({}, 6, **parts) == f"{alone}take a smaller model"
    plain = {"quantization.load_in_4bit": "no"}
    four = "load it in 4 bit (quantization.load_in_4bit), or take a smaller model"
    assert advised(dict(plain), 6, **parts) == alone + four
    assert advised(dict(plain), 7, **parts).endswith(f"data.max_length, or {four}")
