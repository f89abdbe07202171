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
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path[:0] = [str(HERE), str(REPOSITORY)]

from peers import table, weights  # noqa: E402
from peers.shapes import ENTRANTS, GROUPS, ROWS, Row, dry  # noqa: E402

from core.monitor.devices import listing, visible  # noqa: E402
from core.monitor.peak import Peak  # noqa: E402

SIGN = "RESULT "
"""What lines of a measurement begin with that hold its result; a later one replaces an earlier."""
_NEEDS = {
    "finetui": ("torch", "trl", "peft", "bitsandbytes", "pydantic"),
    "hugging_face": ("torch", "trl", "peft", "bitsandbytes"),
    "unsloth": ("torch", "unsloth"),
}
"""Packages that a peer cannot do without."""
_SHOWN = (
    "outcome", "error", "tokens_per_second", "peak_allocated_gib", "device_peak_gib",
    "longest_length", "path", "why", "losses", "wall_seconds",
)  # fmt: skip
"""What is said of a result at once; the rest is in the file."""


def paths(options: argparse.Namespace) -> dict[str, str]:
    """PYTHONPATH of each entrant: its own, or that of the peer which it is a variant of."""
    given = dict(part.split("=", 1) for part in options.python_path)
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


def order(row: Row, names: list[str], rounds: int, *, once: bool = False) -> list[str]:
    """Who runs when: forwards and backwards in turn, and the first once more at the end.

    ``once`` leaves that out, which tells whether the machine stayed as it was.
    """
    turns = [name for number in range(rounds) for name in (names, names[::-1])[number % 2]]
    return [*turns, names[0]] if len(names) > 1 and not dry(row) and not once else turns


def measure(
    row: Row,
    name: str,
    options: argparse.Namespace,
    env: dict[str, str],
    card: Peak,
    seconds: float,
) -> dict[str, Any]:
    """Run one measurement; its result, or what became of it."""
    baseline = card.used_bytes()
    task = {
        "row": row.name, "entrant": name, "models": str(options.models),
        "set": dict(part.split("=", 1) for part in options.set),
        "changes": options.changes, "seconds": max(1.0, seconds - 60),
        "lengths": options.lengths, "baseline_bytes": baseline or 0,
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "peers.measure", json.dumps(task)]
    log = options.logs / f"{row.name}-{name}.log"
    started = time.monotonic()
    with card.watch(), log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=options.logs
        )
        ended = threading.Timer(max(1.0, seconds), process.kill)
        ended.start()
        assert process.stdout is not None
        said = [line for line in process.stdout if line.startswith(SIGN)]
        process.wait()
        late = not ended.is_alive()
        ended.cancel()
    found: dict[str, Any] = json.loads(said[-1].removeprefix(SIGN)) if said else {
        "outcome": "out of time" if late else "failed",
        "error": f"ended with status {process.returncode}; see {log.name}",
    }  # fmt: skip
    at_end = found.pop("device_at_end_bytes", None)
    if baseline is not None:
        found["baseline_gib"] = round(baseline / 2**30, 3)
        found["device_peak_gib"] = round(((card.most_bytes or 0) - baseline) / 2**30, 3)
        if at_end is not None:
            found["device_at_end_gib"] = round((at_end - baseline) / 2**30, 3)
    found["wall_seconds"] = round(time.monotonic() - started, 1)
    return {
        "row": row.name, "entrant": name, "model": row.model, "length": row.length,
        "batch": row.batch, "accumulation": row.accumulation, **found,
    }  # fmt: skip


def prepare(row: Row, options: argparse.Namespace, env: dict[str, str]) -> None:
    """Write the model folder of a row, unless it is there or nobody reads it."""
    if row.random_base or weights.ready(row.model, options.models):
        return
    _say(f"writing random weights of {row.model}")
    command = [sys.executable, "-P", "-m", "peers.weights", row.model, str(options.models)]
    subprocess.run(command, env=env, check=True)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All measurements that were asked for and that time allows."""
    end = time.monotonic() + options.budget_seconds
    card, found = Peak(_uuid()), _done(options)
    have = [(r["row"], r["entrant"], r["turn"]) for r in found if r["outcome"] == "measured"]
    envs = {name: environment(name, path, options.env) for name, path in paths(options).items()}
    gpu = has_gpu()
    if gpu and card.used_bytes() is None:
        _say("device memory is not told: nvidia-ml-py is not installed for this process")
    absent = {name: missing(name, envs[name], gpu=gpu) for name in _wanted(options)}
    for name, why in absent.items():
        if why:
            _say(f"skipped: {name}: {why}")
    for row in options.rows:
        names = [n for n in row.entrants if n in absent and absent[n] is None]
        if not gpu and not dry(row):
            _say(f"skipped: {row.name}: it needs a GPU (--rows dry does not)")
            continue
        turns: dict[str, int] = {}
        for name in order(row, names, options.rounds, once=options.once) if names else []:
            turns[name] = turns.get(name, 0) + 1
            if (row.name, name, turns[name]) in have:
                continue
            if end - time.monotonic() >= options.least_seconds:
                prepare(row, options, envs[names[0]])  # minutes and GB, for an 8B
            left = end - time.monotonic()
            if left < options.least_seconds:
                _say(f"out of time before {row.name} {name}, turn {turns[name]}")
                return found
            _say(f"{row.name}: {name}, turn {turns[name]}")
            result = measure(row, name, options, envs[name], card, min(left, options.run_seconds))
            result |= {"turn": turns[name], "set": options.set, "changes": options.changes}
            found.append(result)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            _say("  " + json.dumps({key: result[key] for key in _SHOWN if key in result}))
    return found


def _uuid() -> str | None:
    """The GPU that everybody trains on, where CUDA_VISIBLE_DEVICES names one."""
    gpus = visible(listing().gpus, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return gpus[0].uuid if gpus else None


def _wanted(options: argparse.Namespace) -> list[str]:
    asked = [name for row in options.rows for name in row.entrants]
    return [name for name in dict.fromkeys(asked) if not options.peers or name in options.peers]


def _done(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Results that a cut run left behind, for --resume."""
    return table.read([options.out]) if options.resume and options.out.exists() else []


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    known = f"{', '.join(ROWS)}; several at once: {', '.join(GROUPS)}"
    add("--rows", "--row", default="", help=f"workloads, comma-separated: {known}")
    add("--peers", default="", help=f"only these: {', '.join(ENTRANTS)}")
    add("--rounds", type=int, default=1, help="how often everybody runs")
    add("--once", action="store_true", help="the first one does not run again at the end")
    add("--python-path", action="append", default=[], metavar="NAME=PATH:PATH",
        help="packages of an entrant; trl serves all on transformers")  # fmt: skip
    add("--env", action="append", default=[], metavar="NAME:KEY=VALUE",
        help="environment of an entrant, or of all")  # fmt: skip
    add("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE",
        help="a setting of finetui, such as train.path=peft")  # fmt: skip
    add("--change", action="append", default=[], metavar="FIELD=VALUE",
        help="change the workload: steps, batch, length, rank, dropout ...")  # fmt: skip
    add("--random-base", action="store_true",
        help="finetui alone, its base built on the GPU: no folder is written")  # fmt: skip
    add("--lengths", default="", help="lengths to try in a search, instead of searching")
    add("--models", type=Path, default=Path("/tmp/finetui-bench-models"),  # noqa: S108
        help="where random-weight folders go: 16 GB for an 8B model")  # fmt: skip
    add("--out", type=Path, default=Path("training.jsonl"), help="JSON lines are added here")
    add("--logs", type=Path, default=None, help="standard errors of the runs; default: with --out")
    add("--budget-seconds", type=float, default=float("inf"), help="start nothing after this time")
    add("--least-seconds", type=float, default=30, help="start nothing with less time left")
    add("--run-seconds", type=float, default=600, help="longest time of one run")
    add("--resume", action="store_true", help="leave out what --out holds already")
    add("--table", nargs="+", type=Path, help="print the table of these files, and measure nothing")
    options = parser.parse_args()
    gone = [str(path) for path in options.table or () if not path.is_file()]
    if gone:
        parser.error(f"--table: there is no {', '.join(gone)}")
    if not options.table:
        _finish(options, parser)
    return options


def _finish(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    asked = [name for name in options.rows.split(",") if name]
    names = list(dict.fromkeys(one for name in asked for one in GROUPS.get(name, (name,))))
    options.peers = [name for name in options.peers.split(",") if name]
    for part in [*options.set, *options.python_path]:
        if "=" not in part:
            parser.error(f"{part}: give a name and a value, NAME=VALUE")
    unknown = [n for n in names if n not in ROWS] + [n for n in options.peers if n not in ENTRANTS]
    if unknown or not names:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "name some --rows")
    options.rows = [ROWS[name] for name in names]
    changes: dict[str, Any] = {"random_base": True} if options.random_base else {}
    for part in options.change:
        key, _, value = part.partition("=")
        if key not in Row.__dataclass_fields__:
            parser.error(f"a workload has no {key}")
        try:
            changes[key] = json.loads(value)
        except ValueError:
            parser.error(f"--change {part}: {value!r} is no value in JSON, such as 12 or true")
    options.changes = changes
    from dataclasses import replace

    options.rows = [replace(row, **changes) for row in options.rows]
    if any(row.random_base for row in options.rows) and options.random_base:
        options.peers = options.peers or [n for n in ENTRANTS if ENTRANTS[n].peer == "finetui"]
    options.lengths = [int(n) for n in options.lengths.split(",") if n]
    options.out, options.models = options.out.absolute(), options.models.absolute()
    options.logs = (options.logs or options.out.parent / "logs").absolute()
    options.logs.mkdir(parents=True, exist_ok=True)
    options.models.mkdir(parents=True, exist_ok=True)


def main() -> None:
    options = parse()
    print(table.markdown(table.read(options.table) if options.table else run(options)))


if __name__ == "__main__":
    main()
