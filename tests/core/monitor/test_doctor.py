"""The doctor's findings, each part on its own; torch is asked once, for real."""

from __future__ import annotations

import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_nvml import GIB, FakeNvml
from fake_nvml import Gpu as FakeGpu

from core.monitor import doctor
from core.monitor.devices import Chosen, Gpu, Listing, User


def test_a_small_gpu_and_none_are_warnings() -> None:
    big = Gpu(0, "GPU-a", "H100", 70 * GIB, 80 * GIB, (User(7, "python", GIB),))
    small = Gpu(1, "GPU-b", "T600", 4 * GIB, 4 * GIB)
    first, second = doctor.gpus(Listing((big, small)))
    assert (first.level, first.fix) == ("ok", "")
    assert "70.0 of 80.0 GiB free; python (pid 7) is on it" in first.text
    assert second.level == "warn"
    assert "data.max_length" in second.fix
    (none,) = doctor.gpus(Listing(why="no GPU: why"))
    assert none.level == "warn"
    assert none.text.startswith("no GPU: why")


def test_driver_and_bf16(nvml: Callable[..., FakeNvml]) -> None:
    nvml(FakeGpu("a"), FakeGpu("b", capability=(7, 5)), FakeGpu("c", capability=None),
         FakeGpu("d", capability=(8, 6)))  # fmt: skip
    driver, *bf16 = doctor.driver()
    assert driver.text == "580.65, runs CUDA up to 13.1"
    assert [finding.level for finding in bf16] == ["ok", "warn", "warn", "ok"]
    assert bf16[0].text == "yes, and FP8 (compute capability 9.0)"
    assert bf16[3].text == "yes (compute capability 8.6)"
    nvml(missing=True)
    assert list(doctor.driver()) == []


def test_libraries_against_the_tested_ranges() -> None:
    required = [
        "pytest>=1",
        "psutil<1",
        "no-such-library-here>=2",
        "other; extra == 'dev'",
    ]
    psutil, missing, fitting = doctor.libraries(required)
    assert (psutil.level, psutil.fix) == ("warn", "python -m pip install 'psutil<1'")
    assert (missing.name, missing.level) == ("no-such-library-here", "fail")
    assert fitting.text.startswith("pytest ")


def test_our_own_requirements_are_found() -> None:
    assert any(line.startswith("torch") for line in doctor.requirements())


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ({}, "ok"),
        ({"logind.conf": "[Login]\n#KillUserProcesses=no\n"}, "ok"),
        ({"logind.conf": "[Login]\nKillUserProcesses=yes\n"}, "warn"),
        (
            {
                "logind.conf": "[Login]\nKillUserProcesses=yes\n",
                "logind.conf.d/50.conf": "[Login]\nKillUserProcesses=no\n",
            },
            "ok",
        ),
        ({"logind.conf": "rubbish"}, "ok"),
    ],
)
def test_login_manager(tmp_path: Path, files: dict[str, str], level: str) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert doctor.login_manager((str(tmp_path),), tmp_path / "linger").level == level


def test_lingering_saves_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logind.conf").write_text("[Login]\nKillUserProcesses=yes\n")
    (tmp_path / "me").touch()
    monkeypatch.setattr(doctor.getpass, "getuser", lambda: "me")
    assert doctor.login_manager((str(tmp_path),), tmp_path).level == "ok"


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret_word")
    asked: list[str] = []

    def answer(request: object, timeout: float) -> SimpleNamespace:
        asked.append(request.full_url)  # type: ignore[attr-defined]
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(doctor.urllib.request, "urlopen", answer)
    found = doctor.hub()
    assert (found.level, asked) == ("ok", [constants.ENDPOINT])
    assert "a token is set" in found.text
    assert "secret" not in found.text

    def refuse(request: object, timeout: float) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(doctor.urllib.request, "urlopen", refuse)
    assert doctor.hub().level == "warn"
    assert "no route" in doctor.hub().text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert doctor.hub().level == "ok"


def test_disk_of_a_root_that_is_not_made_yet(tmp_path: Path) -> None:
    assert doctor.disk(tmp_path / "not" / "yet").level in ("ok", "warn")
    assert not (tmp_path / "not").exists()


def test_shared_memory_that_is_not_there(tmp_path: Path) -> None:
    assert doctor.shared_memory(tmp_path / "none").level == "warn"


def test_torch_is_asked_in_another_process() -> None:
    before = "torch" in sys.modules
    answer, problem = doctor.ask_torch(Chosen(None, "CPU", ""))
    assert problem == ""
    assert ("torch" in sys.modules) == before
    assert answer["device"] == "cpu"
    assert 0.03 < answer["nf4_error"] < 0.12


def test_what_torch_cannot_do_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(answer: dict[str, object], problem: str = "") -> list[doctor.Finding]:
        monkeypatch.setattr(doctor, "ask_torch", lambda chosen: (answer, problem))
        return list(doctor.torch_findings(Listing((Gpu(0, "GPU-a", "H100", GIB, GIB),))))

    (broken,) = ask({}, "ImportError: libtorch.so")
    assert (broken.level, broken.text) == ("fail", "ImportError: libtorch.so")
    torch, nf4 = ask(
        {"torch": "2.13", "cuda": None, "device": "cpu", "nf4_error": None, "nf4_problem": "x"}
    )
    assert (torch.level, nf4.level) == ("fail", "fail")
    assert "H100" in torch.text
    torch, nf4 = ask({"torch": "2.13", "cuda": "13.0", "device": "cuda", "nf4_error": 0.5})
    assert (torch.level, nf4.level) == ("ok", "fail")
