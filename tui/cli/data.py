"""inspect, prepare: data files before and without training."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.config import files
from core.config.counted import counted
from core.config.data import LONGEST
from core.config.errors import InputError, RefusedError
from core.config.files import OLD_NAMES
from core.config.schema import RunConfig
from core.data.advice import advice
from core.data.export import check_path, write_rows
from core.data.facts import timed
from core.data.inspect import Report, nothing_held_out
from core.data.inspect import inspect as look
from core.data.leaks import leak_words
from core.data.survey import Survey
from core.data.tokens.codec import ChatCodec
from core.data.tokens.forecast import Forecast
from core.record.folder import RunFolder, list_runs
from core.record.pace import pace_of
from core.run import link
from tui import numbers
from tui.cli.check import check, check_data, configuration, tell_decisions
from tui.cli.follow import Watch, conclude, newest
from tui.cli.output import Output, Style
from tui.cli.parser import Asked

_DATA_NAMES = ("data.files", "files")
_PROBLEMS_SHOWN = 20
_GROUPS = {"1": "words", "2": "pairs of words", "3": "words in threes"}
_CLUSTERS_SHOWN = 5
_TELL_SECONDS = 2.0


def inspect(asked: Asked) -> int:
    """Account for every row: the inspector on a terminal, else a report, or one JSON object.

    The object has ``read``, ``kept`` and ``rejected`` (counts by reason) at its top. 2 when no
    row at all can be used.
    """
    config = _settings(asked)
    check_data(config)
    options, out = asked.options, asked.out
    if out.screen_fits and not options.plain and not options.write:
        from tui.cli.screen import open_screen

        return open_screen(asked.root, config=config, pane="data")
    tell_decisions(config, out)
    if options.write:
        check_path(Path(options.write))
    codec = ChatCodec.of(config) if config.model.name_or_path else None
    with TemporaryDirectory(prefix="finetui-") as spool:
        folder = Path(spool) / "chats" if options.write else None
        if folder is not None:
            folder.mkdir()
        report = look(config, codec, _progress(out), spool=folder, say=out.note)
        lost = _unmet(report)
        if options.write:
            _write(report.survey, Path(options.write), out, lost)
    if codec is not None:
        pace = pace_of(config, list_runs(asked.root))
        report.facts["training"] = timed(report.facts["training"], pace)
    document = report.as_dict()
    error = _nothing_kept(report) if not report.usable else lost
    if error is not None:
        document["error"] = {
            "kind": error.kind, "message": error.message, "remedies": list(error.remedies),
        }  # fmt: skip
    out.document(document)
    _tell(report, out)
    if error is not None:
        out.failure(error, on_stdout=False)
    return 2 if error else 0


def _unmet(report: Report) -> RefusedError | None:
    """Why decisions by hand keep a run from starting; None when they do not."""
    overlay = report.survey.overlay
    for survey in report.surveys[1:]:
        overlay.join(survey.overlay)
    try:
        overlay.check()
    except RefusedError as error:
        return error
    return None


def _nothing_kept(report: Report) -> InputError:
    """Why a look ends as a failure."""
    given = report.given if report.survey.tally.kept else None
    tally = report.survey.tally if given is None else given.tally
    reasons = ", ".join(f"{count:,} {name}" for name, count in tally.rejected.most_common(5))
    details = [p.detail for p in report.problems if given is None or p.file in tally.by_file]
    first = f"; the first: {details[0]}" if details else ""
    what = f"no row of {tally.read:,} can be used" if given is None else nothing_held_out(tally)
    return InputError(
        f"{what} ({reasons}){first}",
        kind="no_rows",
        remedies=(
            *advice(tally.rejected),
            "see each row with its reason: finetui inspect on a terminal, or with --json",
        ),
    )


def prepare(asked: Asked) -> int:
    """Make a run and freeze its data; ``--json``: one object with the counts."""
    config = configuration(asked)
    check(config, trains=False)
    tell_decisions(config, asked.out)
    name = config.run.name
    before = newest(RunFolder(asked.root / name)) if name else 0
    started = link.Link.start(config, asked.root, job="prepare")
    watching = Watch(started, asked.out, "notes", after=before, on_interrupt="Abort")
    code = conclude(watching, watching.to_end(), asked.out)
    run, data = started.folder, watching.state.data
    if code == 0 and data is not None:
        asked.out.document({"run": run.name, "folder": run.path, "data": data})
        asked.out.say(
            f"{run.name}: {counted(data.read, 'row')} read, {data.train_rows:,} to train, "
            f"{data.eval_rows:,} held out, {data.rejected:,} rejected; frozen in {run.data}"
        )
        asked.out.note(f"train it: finetui resume {run.name}")
    return code


def _settings(asked: Asked) -> RunConfig:
    """The configuration that the words mean."""
    options = asked.options
    twice = [name for name in asked.settings if OLD_NAMES.get(name, name) in _DATA_NAMES]
    if twice:
        raise InputError(
            f"the data is named twice: {' '.join(options.data)}, and --{twice[0]} "
            f"{asked.settings[twice[0]]}",
            kind="bad_value",
            remedies=("name all of it behind inspect, and leave out --" + twice[0],),
        )
    given = {"data.files": json.dumps(options.data, ensure_ascii=False)} | asked.settings
    if "model" in given:  # the usual short word of this command
        given["model.name_or_path"] = given.pop("model")
    if options.max_length is not None:
        given["data.max_length"] = str(options.max_length)
    loaded = files.from_overrides(given)
    for notice in loaded.notices:
        asked.out.note(notice, "yellow")
    return loaded.config


def _progress(out: Output) -> Callable[[Survey], None]:
    """Tell now and then how far a long look is, where somebody watches."""
    told = [time.monotonic()]

    def tell(survey: Survey) -> None:
        now, progress = time.monotonic(), survey.progress
        if survey.complete or now - told[0] < _TELL_SECONDS or not sys.stderr.isatty():
            return
        told[0] = now
        left = progress.remaining_seconds
        rest = f", {left:.0f} s left" if left is not None else ""
        part = progress.done_bytes / max(1, progress.total_bytes)
        out.note(
            f"{counted(survey.done, 'row')}, {part:.0%}, {progress.rate / 1e6:.0f} MB/s{rest}",
            "dim",
        )

    return tell


def _write(survey: Survey, path: Path, out: Output, lost: RefusedError | None) -> None:
    """The kept rows to a new file, as messages; no file where none is kept, or where decisions
    by hand are lost."""
    if lost is not None:
        out.note(f"decisions by hand fit no row any more: {path} was not written", "yellow")
        return
    if not len(survey.kept):
        out.note(f"no row is kept: {path} was not written", "yellow")
        return
    count = write_rows(path, (survey.chat(int(number)).chat for number in survey.kept))
    out.note(f"{counted(count, 'row')} written to {path}")


_STYLES: dict[str, Style] = {"warning": "yellow", "note": "dim", "good": "green"}


def _tell(report: Report, out: Output) -> None:
    tally = report.tally
    rejected = tally.rejected.total()
    out.say(
        f"{counted(tally.read, 'row')} read = {tally.kept:,} kept + {rejected:,} rejected", "bold"
    )
    for survey, label in zip(report.surveys, ("file", "eval file"), strict=False):
        for source in survey.sources:
            out.say(f"{label:<9} {source.path}: {source.words}")
    out.say(f"format    {report.formats_in_words}")
    if tally.blank_lines.total():
        out.say(f"blank     {counted(tally.blank_lines.total(), 'line')} (no rows)")
    if tally.unlearned.rows:
        out.say(f"unused    fields not learned: {tally.unlearned.words}")
    for reason, count in tally.rejected.most_common():
        out.say(f"rejected  {count:>7,}  {reason}", "yellow")
    for note, count in tally.notes.most_common():
        out.say(f"noted     {count:>7,}  {note}")
    for words in leak_words(report.leaks):
        out.say(f"leaks     {words}", "yellow")
    if report.survey.tally.kept:
        _tell_facts(report.facts, out)
    _tell_tokens(report, out)
    if report.survey.tally.kept:
        _tell_training(report.facts["training"], out)
    _tell_clusters(report.survey, out)
    for finding in report.verdict:
        out.say(f"{finding.level:<9} {finding.text}", _STYLES[finding.level])
    out.say(f"sha256    {report.fingerprint['sha256']}")
    for problem in report.problems[:_PROBLEMS_SHOWN]:
        out.say(f"{problem.file}:{problem.line}: {problem.reason}: {problem.detail}")
    if rejected > _PROBLEMS_SHOWN:
        out.say(f"... and {rejected - _PROBLEMS_SHOWN:,} more; --json lists up to 1,000")


def _tell_facts(facts: dict[str, Any], out: Output) -> None:
    for name, label in (("chars", "chars"), ("answer_chars", "answers"), ("turns", "turns")):
        spread = facts[name]
        out.say(
            f"{label:<9} median {spread['median']:,.0f}, 95 of 100 up to {spread['p95']:,}, "
            f"longest {spread['max']:,}" + (" characters" if "chars" in name else "")
        )
    out.say("roles     " + ", ".join(f"{count:,} {role}" for role, count in facts["roles"].items()))
    variety = facts["variety"]
    groups, opened = variety["distinct_word_groups"], variety["beginnings"]
    shown = ", ".join(f"{r:.0%} of the {_GROUPS[n]}" for n, r in groups.items() if r is not None)
    out.say(
        f"variety   in {counted(variety['sampled'], 'row')} looked at: prompts begin in "
        f"{counted(opened['distinct'], 'way')}"
        + (f"; different in the answers: {shown}" if shown else "")
    )
    languages = variety["languages"]["counts"]
    out.say("language  " + ", ".join(f"{name} {count:,}" for name, count in languages.items()))


def _tell_tokens(report: Report, out: Output) -> None:
    tokens = report.tokens
    if tokens is None or report.model is None:
        return
    lengths, limit = tokens.as_dict()["lengths"], report.survey.config.data.max_length
    if isinstance(lengths, dict):
        out.say(
            f"tokens    median {lengths['median']:,.0f}, 95 of 100 up to {lengths['p95']:,}, "
            f"longest {lengths['max']:,}; {counted(tokens.truncated, 'row')} would be cut at "
            f"{limit:,}"
        )
    out.say(
        f"loss      {tokens.loss_tokens:,} of {tokens.tokens:,} tokens carry loss; "
        f"the stop token is trained in {tokens.stop_trained:,} of {counted(tokens.rows, 'row')}"
    )
    out.say(f"template  {report.model['template']}")
    cuts = report.survey.forecast
    shown = ", ".join(f"{c.rows_cut:,} at {c.max_length:,}" for c in cuts.table if c.rows_cut)
    if shown:
        out.say(f"cuts      rows cut: {shown}; {_proposal(cuts)}")


def _proposal(cuts: Forecast) -> str:
    """Which length to take."""
    if cuts.longest > LONGEST == cuts.proposed:
        many = counted(cuts.at(LONGEST).rows_cut, "row is", "rows are")
        return (
            f"{many} longer than {LONGEST:,}, the most that data.max_length takes: split long "
            "texts, or leave them out (clean.max_tokens)"
        )
    return f"{cuts.proposed:,} leaves nearly all whole"


def _tell_clusters(survey: Survey, out: Output) -> None:
    if not survey.clusters:
        return
    out.say(f"near      {counted(len(survey.clusters), 'cluster')} of near duplicates; the first:")
    for cluster in survey.clusters[:_CLUSTERS_SHOWN]:
        others = [f"{survey.place(n)[1]} ({share:.0%})" for n, share in cluster.others]
        shown = ", ".join(others[:_CLUSTERS_SHOWN]) + (
            " ..." if len(others) > _CLUSTERS_SHOWN else ""
        )
        file, line = survey.place(cluster.kept)
        out.say(f"          {file}:{line} is kept; lines {shown} are near to it")


def _tell_training(training: dict[str, Any], out: Output) -> None:
    for words in training.get("mix_in_words", ()):
        out.say(f"mix       {words}")
    held = (
        f"{counted(training['train_rows'], 'row')} to train, {training['held_out_rows']:,} held out"
    )
    if training["steps"] is None:
        out.say(f"training  {held}; steps: unknown until a model counts the tokens")
        return
    about = "" if training["sequences_are_exact"] else "about "
    out.say(
        f"training  {held}; {about}{counted(training['sequences_an_epoch'], 'sequence')} and "
        f"{counted(training['steps_an_epoch'], 'step')} an epoch, {training['steps']:,} in all; "
        f"{_time(training)}"
    )


def _time(training: dict[str, Any]) -> str:
    """How long the steps take, and how that is known."""
    pace = training["measured"]
    if pace is None:
        return "time: unknown until a run with these settings has been measured"
    return (
        f"time: {numbers.clock(training['seconds'])} for the steps at "
        f"{pace['tokens_per_second']:,.0f} tokens/s, as {pace['run']} did on {pace['device']}"
    )
