"""The job that freezes a run's data: read, tokenize, pack, write, prove; then one rename.

Runs in the worker. Nothing appears under the run's ``data`` folder until all of it is there, so
that a kill at any moment leaves either no data or all of it.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from core.config.counted import counted
from core.config.errors import FailedError, InputError, RefusedError
from core.config.schema import RunConfig
from core.data.advice import advice
from core.data.blocks import cut
from core.data.chats.formats import Defect
from core.data.choice import choose
from core.data.facts import facts_of
from core.data.identity import fingerprint_of
from core.data.inspect import describe, nothing_held_out
from core.data.leaks import EXACT, leak_words
from core.data.mix import Share, check_weights, mix, mix_words
from core.data.overlay import require
from core.data.pipeline import Kept, Tally
from core.data.proof import prove
from core.data.read.sources import RAW_LIMIT, Rejected
from core.data.sequences import TokenSpool
from core.data.survey import Survey
from core.data.tokens.codec import WARNINGS, ChatCodec, Encoded, is_raw
from core.data.tokens.forecast import Lengths
from core.data.tokens.frozen import (
    EVAL,
    REPORT,
    TRAIN,
    Frozen,
    digest,
    load_frozen,
    read_report,
    staged,
    verify,
    write,
)
from core.data.tokens.pack import Groups, Packed, efficiency, join, pack
from core.data.verdict import verdict
from core.record.events import DataPrepared
from core.record.folder import write_private
from core.record.job import Job, Result

__all__ = ["Frozen", "load_frozen", "prepare"]

REJECTED, HELD_OUT = "rejected.jsonl", "heldout.jsonl"
_BATCH = 256
_BATCH_CHARS = 4 << 20
"""Tokens of long texts take 150 bytes for each of their characters until they are written."""
_PROOF_ROWS = 16
_TICK_SECONDS = 0.5

Places = npt.NDArray[np.int64]


def prepare(job: Job) -> Result:
    """Freeze the run's data set, or find it frozen already.

    Raises InputError for data or a model that cannot be used, FailedError when our tokens are not
    transformers' tokens, RefusedError when frozen data is there that these settings did not make.
    """
    if job.folder.data.exists():
        return _again(job)
    require(job.config.data.overlay)
    with staged(job.folder) as staging:
        event = _Preparation(job, staging).run()
    job.emit(event)
    return _result(event)


class _Preparation:
    """One preparation: the account, the open files, and the steps in their order."""

    def __init__(self, job: Job, staging: Path):
        self.job = job
        self.config: RunConfig = job.config
        self.staging = staging
        self.given: Survey | None = None
        self._told = 0.0
        self._examples: dict[str, str] = {}
        self._lengths = Lengths()

    def run(self) -> DataPrepared:
        job, data = self.job, self.config.data
        job.stage("reading", ", ".join(Path(name).name for name in data.files))
        check_weights(data)
        self.codec = ChatCodec.of(self.config)
        with self._side_files():
            self.own = self._survey("own", data.files)
            self.given = self._survey("given", data.eval_files) if data.eval_files else None
            self._refuse_lost_edits()
            self.chosen = choose(self.own, self.given, self._tell_survey)
            job.stage("tokenizing", f"template from {self.codec.template.origin}")
            train = self._tokenize(self.own, self.chosen.train, TRAIN, held_out=False)
            held = self.own if self.given is None else self.given
            evaluation = self._tokenize(held, self.chosen.held_out, EVAL, held_out=True)
            self._refuse_emptiness(train, evaluation)
            self._prove(train)
        event = self._freeze(train, evaluation)
        for side in (train, evaluation):
            side.close()
        for survey in self._surveys:
            survey.close()
        return event

    @property
    def _surveys(self) -> list[Survey]:
        return [survey for survey in (self.own, self.given) if survey is not None]

    @property
    def tally(self) -> Tally:
        """The account of all files."""
        return Tally.of(survey.tally for survey in self._surveys)

    @contextmanager
    def _side_files(self) -> Iterator[None]:
        with (
            _private(self.staging / REJECTED) as self._rejected,
            _private(self.staging / HELD_OUT) as self._held_out,
        ):
            yield

    def _survey(self, name: str, files: Sequence[str]) -> Survey:
        """All rows of these files, with the kept chats on disk."""
        spool = self.staging / name
        spool.mkdir(mode=0o700)
        survey = Survey(
            self.config,
            files=files,
            spool=spool,
            on_rejected=lambda _, row: self._note(row),
            say=self._hear,
        )
        survey.run(self._tell_survey)
        if not len(survey.kept) and name == "own":
            raise self._nothing("no row can be used", survey.tally)
        return survey

    def _hear(self, words: str) -> None:
        """Tell of a download, which an abort ends where it is a sample."""
        self.job.control.check()
        self.job.log(words)

    def _tell_survey(self, survey: Survey) -> None:
        progress = survey.progress
        left = progress.remaining_seconds
        rate = f"{progress.rate / 1e6:.0f} MB/s" + (f", {left:.0f} s left" if left else "")
        self._tick(progress.done_bytes >> 10, progress.total_bytes >> 10, "KiB", rate)

    def _refuse_lost_edits(self) -> None:
        """Decisions of the inspector that fit no row end the preparation."""
        overlay = self.own.overlay
        for survey in self._surveys[1:]:
            overlay.join(survey.overlay)
        overlay.check()

    def _tokenize(
        self, survey: Survey, numbers: Places, name: str, *, held_out: bool
    ) -> TokenSpool:
        side, what = TokenSpool(self.staging / f"{name}.tokens"), "rows"
        done = 0
        for batch, rows in _batches(survey, numbers):
            results = self.codec.encode_many([row.chat for row in rows])
            for number, row, whole in zip(batch, rows, results, strict=True):
                if isinstance(whole, Encoded) and not held_out:
                    self._lengths.add(whole)
                result = cut(whole, self.config)
                if isinstance(result, Defect):
                    rejected = Rejected(row.file, row.line, result.reason, result.detail)
                    survey.take_back(number, rejected)
                    continue
                side.add(number, result)
                survey.enter_tokens(number, result)
                for note in result.notes:
                    self._examples.setdefault(
                        note, f"{row.file}, line {row.line}: {result.details.get(note, '')}"
                    )
                if held_out:
                    self._hold_out(row)
            done += len(batch)
            self._tick(done, len(numbers), what)
        side.finish()
        return side

    def _refuse_emptiness(self, train: TokenSpool, evaluation: TokenSpool) -> None:
        if not len(train):
            raise self._nothing("no token of any row would be learned", self.tally)
        if self.given is not None and not len(evaluation):
            tally, files = self.given.tally, self.config.data.eval_files
            raise self._nothing(nothing_held_out(tally), tally, files)

    def _prove(self, train: TokenSpool) -> None:
        numbers = random.Random(self.config.data.seed).sample(
            train.numbers, min(_PROOF_ROWS, len(train))
        )
        self.job.stage("proving", f"{counted(len(numbers), 'row')} against transformers' tokenizer")
        prove(self.codec, self.config, [self.own.chat(number).chat for number in numbers])

    def _freeze(self, train: TokenSpool, evaluation: TokenSpool) -> DataPrepared:
        for survey in self._surveys:
            survey.settle()
        self.job.stage("packing" if self.config.data.packing else "ordering")
        self.job.control.check()
        places, shares = self._mixed(train)
        sequences = self._sequences(train, places)
        self.job.stage("freezing")
        written = write(self.staging / TRAIN, self._joined(train, sequences))
        eval_sequences = Groups.single(np.zeros(0, np.int64))
        if len(evaluation):
            every = evaluation.sequences_of(np.arange(len(evaluation)))
            eval_sequences = self._sequences(evaluation, every)
            write(self.staging / EVAL, self._joined(evaluation, eval_sequences))
        tally, stats = self.tally, train.stats
        event = DataPrepared(
            read=tally.read,
            kept=tally.kept,
            rejected=tally.rejected.total(),
            train_rows=stats.rows,
            eval_rows=evaluation.stats.rows,
            train_sequences=written,
            tokens=stats.tokens,
            loss_tokens=stats.loss_tokens,
            truncated=stats.truncated + evaluation.stats.truncated,
            sha256=digest(self.staging),
        )
        if not tally.balanced or event.kept != event.train_rows + event.eval_rows:
            raise FailedError("the rows do not add up; please report this", kind="unbalanced")
        report = self._report(event, self._side(train, sequences))
        report["mix"] = [share.as_dict() for share in shares]
        if len(evaluation):
            report["eval"] = self._side(evaluation, eval_sequences)
        write_private(self.staging / REPORT, json.dumps(report, indent=2, ensure_ascii=False))
        self._warn(event, train, shares)
        return event

    def _mixed(self, train: TokenSpool) -> tuple[Places, list[Share]]:
        """Which sequences an epoch has, and what each set gives to it."""
        data = self.config.data
        rows = np.arange(len(train))
        if not data.weights:
            return train.sequences_of(rows), []
        sets = self.own.sets[np.asarray(train.numbers, np.int64)]
        epoch, shares = mix(
            sets, train.row_lengths, data.files, data.weights, data.mix_by, data.seed
        )
        return train.sequences_of(epoch), shares

    def _sequences(self, side: TokenSpool, places: Places) -> Groups:
        if not self.config.data.packing:
            return Groups.single(places)
        return pack(side.lengths[places], self.config.data.max_length).of(places)

    def _joined(self, side: TokenSpool, sequences: Groups) -> Iterator[Packed]:
        for number, places in enumerate(sequences, 1):
            yield join([side.sequence(place) for place in places])
            self._tick(number, len(sequences), "sequences")

    def _side(self, side: TokenSpool, sequences: Groups) -> dict[str, Any]:
        tokens = int(side.lengths[sequences.rows].sum())
        room = efficiency(tokens, len(sequences), self.config.data.max_length)
        return side.stats.as_dict() | {
            "sequences": len(sequences),
            "packing_efficiency": round(room, 4) if self.config.data.packing else None,
        }

    def _report(self, event: DataPrepared, train: dict[str, Any]) -> dict[str, Any]:
        given = self.given.content_sha256 if self.given is not None else ""
        facts = facts_of(self.own, forecast=False)
        return {
            "schema": 1,
            **self.tally.as_dict(),
            "fingerprint": fingerprint_of(self.config, self.own.content_sha256, self.codec, given),
            "samples": [found.as_dict() for one in self._surveys for found in one.samples],
            "leaks": self.chosen.leaks,
            "statistics": facts,
            "verdict": [vars(finding) for finding in verdict(self.own, facts)],
            "train": train,
            "eval": None,
            "tokenizer": describe(self.codec),
            "chat_template": self.codec.template.source,
            "examples": self._examples,
            "forecast": self._lengths.forecast().as_dict(),
            "seed": self.config.data.seed,
            "settings": settings_of(self.config),
            "prepared": asdict(event),
            "sha256": event.sha256,
        }

    def _warn(self, event: DataPrepared, train: TokenSpool, shares: list[Share]) -> None:
        """Say what a person should know before hours of training."""
        log, notes = self.job.log, self.tally.notes
        log(f"{counted(event.read, 'row')} read, {event.kept:,} kept, {event.rejected:,} rejected")
        for source in self.own.sources:
            if source.warning:
                log(source.warning, "warning")
        unlearned = self.own.tally.unlearned.warning(self.own.tally.kept)
        if unlearned:
            log(unlearned, "warning")
        for line, level in mix_words(shares, self.config.data.mix_by):
            log(line, level)
        for line in leak_words(self.chosen.leaks):
            log(line, "warning")
        if event.truncated:
            cut = counted(event.truncated, "row is", "rows are")
            log(f"{cut} cut at data.max_length, and not taught to stop", "warning")
        if not train.stats.stop_trained:
            log("no row teaches a stop token: the tuned model may not know when to end", "warning")
        for note, example in self._examples.items():
            log(f"{counted(notes[note], 'row')}: {note}; the first: {example}",
                "warning" if note in WARNINGS else "info")  # fmt: skip
        cleaning = [
            (note, rows) for note, rows in notes.most_common() if note not in self._examples
        ]
        if cleaning:
            listed = ", ".join(f"{note} in {counted(rows, 'row')}" for note, rows in cleaning)
            log(f"noted: {listed}")
        batch = self.config.effective_batch
        if event.train_sequences < batch:
            few = counted(event.train_sequences, "sequence is", "sequences are")
            log(f"{few} fewer than one step's {batch}: "
                "lower train.gradient_accumulation_steps", "warning")  # fmt: skip

    def _nothing(self, what: str, tally: Tally, files: Sequence[str] | None = None) -> InputError:
        counts = ", ".join(f"{n} {reason}" for reason, n in tally.rejected.most_common(6))
        return InputError(
            f"{what}: {counted(tally.read, 'row')} read, {tally.kept:,} kept"
            + (f"; rejected: {counts}" if counts else ""),
            kind="nothing_to_learn",
            remedies=(
                "look at the rows and their reasons: finetui inspect "
                + " ".join(files or self.config.data.files),
                *(
                    (
                        "name other rows in data.eval_files, or clear it: data.eval_fraction "
                        "holds some out",
                    )
                    if set(tally.rejected) == {EXACT}
                    else advice(tally.rejected)
                ),
            ),
        )

    def _note(self, row: Rejected) -> None:
        entry = asdict(row) | {"raw": row.raw[:RAW_LIMIT]}
        self._rejected.write(_line(entry))

    def _hold_out(self, row: Kept) -> None:
        if is_raw(row.chat):
            return  # there is no question to ask again
        entry = {
            "messages": row.chat[:-1],
            "expected": row.chat[-1]["content"],
            "file": row.file,
            "line": row.line,
        }
        self._held_out.write(_line(entry))

    def _tick(self, done: int, total: int, unit: str = "rows", detail: str = "") -> None:
        """Tell progress now and then; hear an abort always."""
        self.job.control.check()
        now = time.monotonic()
        if now - self._told > _TICK_SECONDS:
            self._told = now
            self.job.progress(done, total, unit, detail)


def _batches(survey: Survey, numbers: Places) -> Iterator[tuple[list[int], list[Kept]]]:
    """Rows to tokenize together: a few hundred, fewer where they are long."""
    batch: list[int] = []
    rows: list[Kept] = []
    chars = 0
    for number in numbers.tolist():
        row = survey.chat(number)
        size = sum(len(message["content"]) for message in row.chat)
        if batch and (len(batch) == _BATCH or chars + size > _BATCH_CHARS):
            yield batch, rows
            batch, rows, chars = [], [], 0
        batch.append(number)
        rows.append(row)
        chars += size
    if batch:
        yield batch, rows


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The settings that decide how frozen data looks."""
    return {
        "model": config.model.name_or_path,
        "revision": config.model.revision,
        "data": config.data.model_dump(),
    }


def _again(job: Job) -> Result:
    """Use what an earlier attempt froze, if these settings made it and it is unchanged."""
    report = read_report(job.folder)
    if report.get("settings") != settings_of(job.config):
        raise RefusedError(
            f"{job.folder.name} has frozen data that other settings made",
            kind="data_changed",
            remedies=("start a new run for the new settings",),
        )
    job.stage("verifying", "frozen data is there already")
    verify(job.folder, report)
    event = DataPrepared(**report["prepared"])
    job.emit(event)
    return _result(event)


def _result(event: DataPrepared) -> Result:
    return asdict(event)


@contextmanager
def _private(path: Path) -> Iterator[IO[str]]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    # Half a character cannot be written as UTF-8; as an escape it is valid JSON.
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
