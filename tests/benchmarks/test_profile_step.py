"""Where the time of a step goes: gaps, kinds of kernels, arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_gaps_are_when_nothing_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profile_step as profile

    launches = [
        profile.Launch(0, 10, "gemm"), profile.Launch(2, 30, "Memcpy DtoH"),
        profile.Launch(5, 12, "norm"), profile.Launch(20, 21, "gemm"),
    ]  # fmt: skip
    assert profile.gaps(launches) == [profile.Gap(12, "norm", launches[3])]
    assert profile.gaps(launches)[0].length == 8
    report = profile.told(launches, 2)
    assert "the GPU computes in" in report
    assert "Memcpy DtoH" in report
    kinds = ("_fwd_kernel_flash", "nvjet_tst_128x256", "swiglu_backward_kernel", "memset")
    assert [profile._kind(name) for name in kinds] == ["attention", "products", "SwiGLU", "other"]
    assert report.endswith("| gaps | 0.0 |")


def test_a_setting_that_cannot_be_is_told_by_the_profile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profile_step as profile

    for given, said in (
        ("train.fp8", "'train.fp8': give a name and a value"),
        ("train.foo=1", "unknown key 'foo' in [train]"),
    ):
        monkeypatch.setattr(sys, "argv", ["profile_step", "tiny", "--set", given])
        with pytest.raises(SystemExit):
            profile.main()
        assert said in capsys.readouterr().err.splitlines()[-1]


def test_kernels_in_fp8_count_as_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profile_step as profile

    kinds = {
        "nvjet_sm90_qqtst_128x256_128x4_2x1_v_bz_coopA_TNT": "products",
        "quantize_kernel": "rounding to FP8",
        "scale_rows_kernel": "rounding to FP8",
        "expand_kernel": "dequantization",
        "adapters_kernel": "dequantization",
        "dequantize_blockwise": "other",
        "Memcpy DtoH (Device -> Pinned)": "copies to and from the host",
    }
    assert {name: profile._kind(name) for name in kinds} == kinds
