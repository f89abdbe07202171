"""runs, show: what runs there are, and where one stands."""

from __future__ import annotations

import time
from typing import Any

from core.config.counted import counted
from core.record import folder
from core.record.folder import RunFolder
from core.record.state import RunState, state_of
from tui import numbers
from tui.cli.parser import Asked


def runs(asked: Asked) -> int:
    """List the runs of the root; ``--json``: an object with ``root`` and ``runs``."""
    found = [(run, state_of(run)) for run in folder.list_runs(asked.root)]
    asked.out.document({"root": asked.root, "runs": [_brief(*pair) for pair in found]})
    if not found:
        asked.out.say(f"there are no runs in {asked.root}; try: finetui demo")
        return 0
    head = ("run", "status", "step", "loss", "eval", "best", "changed", "device")
    asked.out.table(head, [_row(run, state) for run, state in found])
    return 0


def show(asked: Asked) -> int:
    """Tell where a run stands; ``--json``: one object with everything the journal says."""
    run = folder.resolve(asked.options.run, asked.root)
    state = state_of(run)
    asked.out.document(_brief(run, state) | {"state": state})
    out = asked.out
    out.say(f"{run.name}: {state.status}", "bold")
    for name, value in _facts(run, state):
        out.say(f"  {name:<12}{value}")
    if state.failure is not None:
        out.say(f"  failed      {state.failure.message}", "red")
        for remedy in state.failure.remedies:
            out.say(f"              - {remedy}")
    return 0


def _facts(run: RunFolder, state: RunState) -> list[tuple[str, str]]:
    facts = [("folder", str(run.path))]
    if state.job:
        facts.append(("job", f"{state.job} {state.stage} on {state.device or '?'}".strip()))
    if state.total_steps:
        facts.append(
            ("step", f"{state.step} of {state.total_steps} (epoch {state.epoch:.2f}, "
             f"attempt {state.attempt})")
        )  # fmt: skip
    if state.loss is not None:
        speed = f", {state.tokens_per_second:,.0f} tokens/s" if state.tokens_per_second else ""
        facts.append(("loss", f"{numbers.loss(state.loss)} at {numbers.rate(state.learning_rate)}"
                      f"{speed}, {numbers.short(state.tokens)} tokens"))  # fmt: skip
    if state.remaining_seconds is not None:
        facts.append(("to go", numbers.clock(state.remaining_seconds)))
    if state.eval_loss is not None:
        known = state.best_eval_loss is not None
        best = f"; best {numbers.loss(state.best_eval_loss)} at step {state.best_step}"
        facts.append(("evaluation", f"{numbers.loss(state.eval_loss)}{best if known else ''}"))
    return facts + _results(state)


def _results(state: RunState) -> list[tuple[str, str]]:
    facts = []
    if state.model is not None:
        fp8 = ", products in FP8" if state.model.fp8 else ""
        facts.append(
            ("model", f"{state.model.name}, {state.model.quantization}{fp8}, trains "
             f"{numbers.short(state.model.trainable)} of {numbers.short(state.model.parameters)}")
        )  # fmt: skip
        facts.append(("path", f"{state.model.path}: {state.model.why}"))
    if state.data is not None:
        facts.append(
            ("data", f"{counted(state.data.read, 'row')} read, {state.data.kept:,} kept, "
             f"{state.data.rejected:,} rejected")
        )  # fmt: skip
    if state.checkpoints:
        facts.append(("checkpoints", ", ".join(state.checkpoints[-5:])))
    if state.stopped_reason:
        facts.append(("stopped", state.stopped_reason))
    if state.merged is not None:
        facts += [("merged", state.merged.path), ("serve", state.merged.serve_command)]
    if state.compared is not None:
        one = state.compared
        facts.append(("matches", f"base {one.base_matches}, merged {one.merged_matches} of "
                      f"{counted(one.rows, 'held-out row')}"))  # fmt: skip
    return facts


def _row(run: RunFolder, state: RunState) -> tuple[str, ...]:
    step = f"{state.step}/{state.total_steps}" if state.total_steps else "–"
    return (
        run.name,
        state.status,
        step,
        numbers.loss(state.loss),
        numbers.loss(state.eval_loss),
        numbers.loss(state.best_eval_loss),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(state.updated)) if state.updated else "–",
        state.device or "–",
    )


def _brief(run: RunFolder, state: RunState) -> dict[str, Any]:
    return {
        "run": run.name,
        "folder": run.path,
        "status": state.status,
        "step": state.step,
        "total_steps": state.total_steps,
        "loss": state.loss,
        "eval_loss": state.eval_loss,
        "best_eval_loss": state.best_eval_loss,
        "trained": state.trained,
        "updated": state.updated,
    }
