"""inspect, prepare: data files before and without training."""

from __future__ import annotations

from core.config.errors import InputError
from core.config.schema import DataConfig, ModelConfig, RunConfig
from core.data.inspect import Report
from core.data.inspect import inspect as look
from core.data.sources import check_name
from core.data.tokens import ChatCodec
from core.run import link
from tui.cli.check import check, configuration
from tui.cli.follow import Watch, conclude
from tui.cli.output import Output
from tui.cli.parser import Asked

_PROBLEMS_SHOWN = 20


def inspect(asked: Asked) -> int:
    """Account for every row: the inspector on a terminal, else a report, or one JSON object.

    The object has ``read``, ``kept`` and ``rejected`` (counts by reason) at its top. 2 when no
    row at all can be used.
    """
    options = asked.options
    if options.max_length is not None and options.max_length < 1:
        raise InputError(f"--max-length is {options.max_length}, but must be above 0")
    for name in options.data:
        check_name(name)
    if asked.out.screen_fits and not options.plain:
        from tui.cli.screen import open_screen

        return open_screen(asked.root, config=_draft(options.data, options.model))
    codec = ChatCodec.load(options.model, None) if options.model else None
    length = options.max_length or DataConfig().max_length
    config = _draft(options.data, options.model)
    config.data.max_length = length
    report = look(config, codec)
    asked.out.document(report.as_dict())
    _tell(report, asked.out, length)
    return 0 if report.survey.tally.kept else 2


def prepare(asked: Asked) -> int:
    """Make a run and freeze its data; ``--json``: one object with the counts."""
    config = configuration(asked)
    check(config)
    started = link.Link.start(config, asked.root, job="prepare")
    watching = Watch(started, asked.out, "notes", on_interrupt="Abort")
    code = conclude(watching, watching.to_end(), asked.out)
    run, data = started.folder, watching.state.data
    if code == 0 and data is not None:
        asked.out.document({"run": run.name, "folder": run.path, "data": data})
        asked.out.say(
            f"{run.name}: {data.read:,} rows read, {data.train_rows:,} to train, "
            f"{data.eval_rows:,} held out, {data.rejected:,} rejected; frozen in {run.data}"
        )
        asked.out.note(f"train it: finetui resume {run.name}")
    return code


def _draft(names: list[str], model: str | None) -> RunConfig:
    return RunConfig(
        model=ModelConfig(name_or_path=model or ""),
        data=DataConfig(files=names),
    )


def _tell(report: Report, out: Output, length: int) -> None:
    tally = report.survey.tally
    rejected = tally.rejected.total()
    out.say(f"{tally.read:,} rows read = {tally.kept:,} kept + {rejected:,} rejected", "bold")
    out.say(f"format    {report.format}")
    if tally.blank_lines.total():
        out.say(f"blank     {tally.blank_lines.total():,} lines (no rows)")
    for reason, count in tally.rejected.most_common():
        out.say(f"rejected  {count:>7,}  {reason}", "yellow")
    for note, count in tally.notes.most_common():
        out.say(f"noted     {count:>7,}  {note}")
    _tell_tokens(report, out, length)
    for problem in report.problems[:_PROBLEMS_SHOWN]:
        out.say(f"{problem.file}:{problem.line}: {problem.reason}: {problem.detail}")
    if rejected > _PROBLEMS_SHOWN:
        out.say(f"... and {rejected - _PROBLEMS_SHOWN:,} more; --json lists up to 1,000")


def _tell_tokens(report: Report, out: Output, length: int) -> None:
    tokens = report.tokens
    if tokens is None or report.model is None:
        return
    lengths = tokens.as_dict()["lengths"]
    if isinstance(lengths, dict):
        out.say(
            f"tokens    median {lengths['median']:,.0f}, p95 {lengths['p95']:,.0f}, "
            f"longest {lengths['max']:,}; {tokens.truncated:,} rows would be cut at {length:,}"
        )
    out.say(
        f"loss      {tokens.loss_tokens:,} of {tokens.tokens:,} tokens carry loss; "
        f"the stop token is trained in {tokens.stop_trained:,} of {tokens.rows:,} rows"
    )
    out.say(f"template  {report.model['template']}")
