"""How fast QLoRA trains, and in what memory: finetui beside TRL, Unsloth and Axolotl's kernels.

    python benchmarks/train.py --rows 8b-2x2048,8b-packed --out results.jsonl \\
        --python-path unsloth=/opt/unsloth --python-path trl=/opt/trl
    python benchmarks/train.py --rows dry                      # a dry run, without a GPU
    python benchmarks/train.py --table results.jsonl           # only the table

All train the same random weights on the same tokens, each in a process of its own, in turns whose
order alternates; the first one runs once more at the end. A JSON line for each run goes to --out,
a Markdown table to standard output. Whoever is not installed is skipped, and named.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path[:0] = [str(HERE), str(REPOSITORY)]

from limits import assignment, at_least, seconds, several  # noqa: E402
from peers import asked, results, table  # noqa: E402
from peers.course import Course, cards, say  # noqa: E402
from peers.shapes import ENTRANTS, GROUPS, ROWS, dry  # noqa: E402

_NEEDS = {
    "finetui": ("torch", "trl", "peft", "bitsandbytes", "pydantic"),
    "hugging_face": ("torch", "trl", "peft", "bitsandbytes"),
    "unsloth": ("torch", "unsloth"),
}
"""Packages that a peer cannot do without."""


def paths(options: argparse.Namespace) -> dict[str, str]:
    """PYTHONPATH of each entrant: its own, or that of the peer which it is a variant of."""
    given = dict(options.python_path)
    found = {}
    for name, entrant in ENTRANTS.items():
        family = {"hugging_face": "trl"}.get(entrant.peer, entrant.peer)
        own = given.get(name) or given.get(name.partition("-")[0]) or given.get(family) or ""
        ours = [str(HERE), *([str(REPOSITORY)] if entrant.peer == "finetui" else [])]
        found[name] = os.pathsep.join([*ours, *([own] if own else [])])
    return found


def environment(name: str, path: str, extra: list[str]) -> dict[str, str]:
    """The environment of a measurement: nothing from the net, and the entrant's own packages."""
    values = os.environ | {
        "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false", "WANDB_DISABLED": "true",
    }  # fmt: skip
    if ENTRANTS[name].peer == "finetui":
        # What finetui sets for each of its trainings.
        for key in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
            values.setdefault(key, "expandable_segments:True")
        values.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for setting in extra:
        who, _, assignment = setting.partition(":")
        key, _, value = assignment.partition("=")
        if who in (name, "all"):
            values[key] = value
    return values


def missing(name: str, env: dict[str, str], *, gpu: bool) -> str | None:
    """Why an entrant cannot take part here; None when it can."""
    entrant = ENTRANTS[name]
    if entrant.peer == "unsloth" and not gpu:
        return "it needs a GPU"
    needs = list(_NEEDS[entrant.peer])
    needs += ["axolotl"] if entrant.options.get("axolotl") else []
    needs += ["liger_kernel"] if entrant.options.get("liger") else []
    # Asked of its own search path, and without importing anything: that would take seconds each.
    code = (
        "import importlib.util, sys\n"
        "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])"
    )
    command = [sys.executable, "-P", "-c", code, *needs]
    gone = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return f"not installed: {', '.join(gone.split())}" if gone.strip() else None


def has_gpu() -> bool:
    """Whether there is an NVIDIA driver; asked without loading torch."""
    return Path("/dev/nvidiactl").exists()


def run(options: argparse.Namespace) -> list[results.Result]:
    """All measurements that were asked for and that time allows."""
    envs = {name: environment(name, path, options.env) for name, path in paths(options).items()}
    gpu = has_gpu()
    absent = {name: missing(name, envs[name], gpu=gpu) for name in asked.wanted(options)}
    for name, why in absent.items():
        if why:
            say(f"skipped: {name}: {why}")
    here = [name for name, why in absent.items() if why is None]
    rows = []
    for row in options.rows:
        if gpu or dry(row):
            rows.append(row)
        else:
            say(f"skipped: {row.name}: it needs a GPU (--rows dry does not)")
    if not any(name in here for row in rows for name in row.entrants):
        raise ValueError("nothing can be measured here: above is who and what was skipped, and why")
    return Course(options, envs, here).run(rows, cards(options.gpus))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    known = f"{', '.join(ROWS)}; several at once: {', '.join(GROUPS)}"
    add("--rows", "--row", default="", help=f"workloads, comma-separated: {known}")
    add("--peers", default="", help=f"only these: {', '.join(ENTRANTS)}")
    add("--rounds", type=at_least(1), default=1, help="how often everybody runs")
    add("--gpus", type=at_least(1), default=1,
        help="so many rows at a time, each on a GPU of its own")  # fmt: skip
    add("--once", action="store_true", help="the first one does not run again at the end")
    add("--python-path", action="append", type=assignment, default=[], metavar="NAME=PATH:PATH",
        help="packages of an entrant; trl serves all on transformers")  # fmt: skip
    add("--env", action="append", default=[], metavar="NAME:KEY=VALUE",
        help="environment of an entrant, or of all")  # fmt: skip
    add("--set", action="append", type=assignment, default=[], metavar="SECTION.FIELD=VALUE",
        help="a setting of finetui, such as train.path=peft")  # fmt: skip
    add("--change", action="append", default=[], metavar="FIELD=VALUE",
        help="change the workload: steps, batch, length, rank, dropout ...")  # fmt: skip
    add("--random-base", action="store_true",
        help="finetui alone, its base built on the GPU: no folder is written")  # fmt: skip
    add(
        "--lengths",
        type=several(2),
        default=[],
        help="lengths to try in a search, instead of searching",
    )
    add("--models", type=Path, default=Path("/tmp/finetui-bench-models"),  # noqa: S108
        help="where random-weight folders go: 16 GB for an 8B model")  # fmt: skip
    add("--out", type=Path, default=Path("training.jsonl"), help="JSON lines are added here")
    add("--logs", type=Path, default=None, help="standard errors of the runs; default: with --out")
    add("--budget-seconds", type=seconds, default=float("inf"),
        help="start nothing after this time")  # fmt: skip
    add("--least-seconds", type=seconds, default=30, help="start nothing with less time left")
    add("--run-seconds", type=seconds, default=600, help="longest time of one run")
    add("--resume", action="store_true", help="leave out what --out holds already")
    add("--table", nargs="+", type=Path, help="print the table of these files, and measure nothing")
    options = parser.parse_args()
    gone = [str(path) for path in options.table or () if not path.is_file()]
    if gone:
        parser.error(f"--table: there is no {', '.join(gone)}")
    try:
        if not options.table:
            asked.finish(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def main() -> int:
    """Status 1 when a measurement failed, or none was made."""
    options = parse()
    try:
        found = results.tabled(options.table) if options.table else run(options)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if not found:
        raise SystemExit("nothing was measured, and there is no table: above is why")
    print(table.markdown(found))
    return int(not options.table and bool(results.failed(found)))


if __name__ == "__main__":
    sys.exit(main())
