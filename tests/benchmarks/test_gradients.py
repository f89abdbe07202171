"""How near gradients are to those in fp32."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--layers 0", "argument --layers: 0 is less than 1"),
        ("--tokens 5", "argument --tokens: 5 is less than 64"),
        ("--tokens -4", "argument --tokens: -4 is less than 64"),
        ("--tokens many", "argument --tokens: 'many' is no whole number"),
    ],
)
def test_gradients_need_a_layer_and_documents_of_some_tokens(
    arguments: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gradients

    monkeypatch.setattr(gradients, "compare", lambda *_: pytest.fail("it begins"))
    monkeypatch.setattr(sys, "argv", ["gradients.py", "tiny", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        gradients.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)


@pytest.mark.trains
def test_gradients_of_both_paths_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gradients

    shape, fused, peft = gradients.compare("tiny", 2, 128)
    assert shape == "tiny"
    cosines = [float(part) for cell in (fused, peft) for part in cell.split("; ")]
    # Without a GPU all three are computed in fp32, and nothing in FP8.
    assert len(cosines) == 4
    assert min(cosines) > 0.99999
    monkeypatch.setattr(gradients, "FP8", True)
    assert list(gradients.paths().values()) == ["fused", "PEFT with autocast", "fused in FP8"]
    cosines = [float(part) for part in gradients.compare("tiny", 2, 128)[3].split("; ")]
    # The twins round to FP8 on a CPU as well.
    assert len(cosines) == 2
    assert 0.9 < min(cosines) < max(cosines) < 0.9999


@pytest.mark.parametrize(("shapes", "slow"), [("tiny", ""), ("tiny llama32-1b", "llama32-1b")])
def test_real_widths_on_a_cpu_are_said_to_take_long(
    shapes: str, slow: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gradients

    said: list[str] = []

    def compare(shape: str, *_: Any) -> list[str]:
        said.append(capsys.readouterr().err)
        return [shape]

    monkeypatch.setattr(gradients, "DEVICE", "cpu")
    monkeypatch.setattr(gradients, "compare", compare)
    monkeypatch.setattr(sys, "argv", ["gradients.py", *shapes.split()])
    gradients.main()
    assert said[0].startswith("no GPU: ")
    assert (f"takes long, and much memory, for {slow}:" in said[0]) == bool(slow)
    assert ("takes long" in said[0]) == bool(slow)
