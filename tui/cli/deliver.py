"""merge, generate: from a trained adapter to a model that answers."""

from __future__ import annotations

from collections.abc import Mapping

from core.config.counted import counted
from core.config.errors import InputError
from core.record import events as ev
from core.record import folder
from core.record.folder import RunFolder
from core.run import link
from tui import numbers
from tui.cli.follow import Watch, conclude, newest
from tui.cli.output import Output
from tui.cli.parser import Asked


def merge(asked: Asked) -> int:
    """Merge a run's adapter; ``--json``: one object with the path and the matches."""
    return merge_run(folder.resolve(asked.options.run, asked.root), asked.out)


def merge_run(run: RunFolder, out: Output) -> int:
    """Merge, follow it to its end, and say where the model is and how it compares."""
    watching, code = _work(run, "merge", {}, out)
    merged = next((e for e in watching.seen if isinstance(e, ev.Merged)), None)
    compared = next((e for e in watching.seen if isinstance(e, ev.AnswersCompared)), None)
    if merged is not None:
        out.say(f"merged: {merged.path} ({numbers.size(merged.size_bytes)})", "bold")
        out.say(f"serve:  {merged.serve_command}")
    if compared is not None:
        out.say(
            f"answers exactly as expected, of {counted(compared.rows, 'held-out row')}: "
            f"base {compared.base_matches}, merged {compared.merged_matches}",
            "bold",
        )
    if code == 0:
        out.document({"run": run.name, "merged": merged, "compared": compared})
    return code


def generate(asked: Asked) -> int:
    """Answer a prompt with a run's models; only the answers go to stdout."""
    run = folder.resolve(asked.options.run, asked.root)
    params, longest = {"prompt": asked.options.prompt}, asked.options.max_new_tokens
    if longest is not None:
        if longest < 1:
            raise InputError(f"--max-new-tokens is {longest}, but must be above 0")
        params["max_new_tokens"] = str(longest)
    if asked.options.models:
        params["models"] = asked.options.models
    watching, code = _work(run, "generate", params, asked.out)
    answers = [event for event in watching.seen if isinstance(event, ev.SampleGenerated)]
    for answer in answers:
        if len(answers) > 1:
            asked.out.say(f"{answer.model}:", "bold")
        asked.out.say(answer.text)
    if code == 0:
        asked.out.document({"run": run.name, "answers": answers})
    return code


def _work(run: RunFolder, job: str, params: Mapping[str, str], out: Output) -> tuple[Watch, int]:
    """Run a job other than training to its end; progress goes to stderr."""
    held, after = link.Link(run), newest(run)
    held.launch(job, params)
    watching = Watch(held, out, "notes", after=after, on_interrupt="Abort")
    return watching, conclude(watching, watching.to_end(), out)
