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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from core.config.errors import FailedError, InputError, RefusedError
from core.config.schema import RunConfig
from core.data.chats import Kept, Seen, Tally, read_chats
from core.data.formats import Defect
from core.data.frozen import (
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
from core.data.inspect import describe
from core.data.pack import Packed, efficiency, join, pack
from core.data.proof import prove
from core.data.sources import RAW_LIMIT, Rejected
from core.data.stats import TokenStats
from core.data.tokens import ChatCodec
from core.record.events import DataPrepared
from core.record.folder import write_private
from core.record.job import Job, Result

__all__ = ["Frozen", "load_frozen", "prepare"]

REJECTED, HELD_OUT = "rejected.jsonl", "heldout.jsonl"
_BATCH = 256
_PROOF_ROWS = 16
_TICK_SECONDS = 0.5

Tokens = npt.NDArray[np.int32]


def prepare(job: Job) -> Result:
    """Freeze the run's data set, or find it frozen already.

    Raises InputError for data or a model that cannot be used, FailedError when our tokens are not
    transformers' tokens, RefusedError when frozen data is there that these settings did not make.
    """
    if job.folder.data.exists():
        return _again(job)
    with staged(job.folder) as staging:
        event = _Preparation(job, staging).run()
    job.emit(event)
    return _result(event)


@dataclass
class _Split:
    """Rows of one side, tokenized."""

    rows: list[tuple[Tokens, Tokens]] = field(default_factory=list)
    stats: TokenStats = field(default_factory=TokenStats)

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids, _ in self.rows]


class _Spool:
    """Chats on disk between reading and tokenizing, so that memory holds only their places."""

    def __init__(self, path: Path):
        self._file: IO[bytes] = path.open("w+b")
        self._places: list[int] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, row: Kept) -> None:
        self._places.append(self._file.tell())
        self._file.write(json.dumps([row.file, row.line, row.chat]).encode() + b"\n")

    def get(self, number: int) -> Kept:
        self._file.seek(self._places[number])
        return Kept(*json.loads(self._file.readline()))

    def close(self) -> None:
        self._file.close()


class _Preparation:
    """One preparation: the account, the open files, and the steps in their order."""

    def __init__(self, job: Job, staging: Path):
        self.job = job
        self.config: RunConfig = job.config
        self.staging = staging
        self.tally = Tally()
        self._told = 0.0

    def run(self) -> DataPrepared:
        job, data = self.job, self.config.data
        job.stage("reading", ", ".join(Path(name).name for name in data.files))
        self.codec = ChatCodec.load(self.config.model.name_or_path, self.config.model.revision)
        with self._side_files():
            own, given = self._read()
            train_rows, eval_rows = self._choose(own)
            job.stage("tokenizing", f"template from {self.codec.template.origin}")
            train = self._tokenize(own, train_rows, held_out=False)
            evaluation = (
                self._tokenize(given, list(range(len(given))), held_out=True)
                if data.eval_files
                else self._tokenize(own, eval_rows, held_out=True)
            )
            self._refuse_emptiness(train, evaluation)
            self._prove(own, train_rows)
            own.close()
            given.close()
        for spool in self.staging.glob("*.spool"):
            spool.unlink()
        return self._freeze(train, evaluation)

    @contextmanager
    def _side_files(self) -> Iterator[None]:
        with (
            _private(self.staging / REJECTED) as self._rejected,
            _private(self.staging / HELD_OUT) as self._held_out,
        ):
            yield

    def _read(self) -> tuple[_Spool, _Spool]:
        """Chats of the training files, and of the evaluation files where there are some."""
        data, seen = self.config.data, Seen()
        own = _Spool(self.staging / "train.spool")
        given = _Spool(self.staging / "eval.spool")
        sides = [(data.files, own, "duplicate")]
        if data.eval_files:
            sides.append((data.eval_files, given, "repeats_training_row"))
        for files, spool, repeat_reason in sides:
            outcomes = read_chats(files, data.format, self.tally, seen, repeat_reason=repeat_reason)
            for outcome in outcomes:
                if isinstance(outcome, Rejected):
                    self._note(outcome)
                else:
                    spool.add(outcome)
                self._tick(self.tally.read, 0)
        if not len(own):
            raise self._nothing("no row can be used")
        return own, given

    def _choose(self, own: _Spool) -> tuple[list[int], list[int]]:
        """Rows to learn from, in a seeded random order, and rows to hold out."""
        data = self.config.data
        order = list(range(len(own)))
        random.Random(data.seed).shuffle(order)
        limit = data.max_train_samples or len(order)
        for number in order[limit:]:
            row = own.get(number)
            detail = f"max_train_samples is {limit}"
            self._take_back(Rejected(row.file, row.line, "not_sampled", detail))
        order = order[:limit]
        held_out = 0
        if not data.eval_files and data.eval_fraction > 0:
            held_out = min(max(1, round(len(order) * data.eval_fraction)), len(order) - 1)
        return order[held_out:], sorted(order[:held_out])

    def _tokenize(self, spool: _Spool, numbers: Sequence[int], *, held_out: bool) -> _Split:
        split, what = _Split(), "held-out rows" if held_out else "rows"
        for start in range(0, len(numbers), _BATCH):
            rows = [spool.get(number) for number in numbers[start : start + _BATCH]]
            results = self.codec.encode_many(
                [row.chat for row in rows], self.config.data.max_length
            )
            for row, result in zip(rows, results, strict=True):
                if isinstance(result, Defect):
                    raw = json.dumps(row.chat, ensure_ascii=False)
                    self._take_back(Rejected(row.file, row.line, result.reason, result.detail, raw))
                    continue
                split.rows += result.sequences
                split.stats.add(result)
                self.tally.notes.update(result.notes)
                if held_out:
                    self._hold_out(row)
            self._tick(min(start + _BATCH, len(numbers)), len(numbers), what)
        return split

    def _refuse_emptiness(self, train: _Split, evaluation: _Split) -> None:
        data = self.config.data
        if not train.rows:
            raise self._nothing("no token of any row would be learned")
        if data.eval_files and not evaluation.rows:
            raise self._nothing("no row of data.eval_files can be used")

    def _prove(self, own: _Spool, numbers: Sequence[int]) -> None:
        chosen = random.Random(self.config.data.seed).sample(
            list(numbers), min(_PROOF_ROWS, len(numbers))
        )
        self.job.stage("proving", f"{len(chosen)} rows against transformers' tokenizer")
        prove(self.codec, self.config, [own.get(number).chat for number in chosen])

    def _freeze(self, train: _Split, evaluation: _Split) -> DataPrepared:
        self.job.stage("packing" if self.config.data.packing else "ordering")
        self.job.control.check()
        sequences = self._sequences(train)
        self.job.stage("freezing")
        written = write(self.staging / TRAIN, self._joined(train, sequences))
        eval_sequences = self._sequences(evaluation)
        if evaluation.rows:
            write(self.staging / EVAL, self._joined(evaluation, eval_sequences))
        stats = train.stats
        event = DataPrepared(
            read=self.tally.read,
            kept=self.tally.kept,
            rejected=self.tally.rejected.total(),
            train_rows=stats.rows,
            eval_rows=evaluation.stats.rows,
            train_sequences=written,
            tokens=stats.tokens,
            loss_tokens=stats.loss_tokens,
            truncated=stats.truncated + evaluation.stats.truncated,
            sha256=digest(self.staging),
        )
        if not self.tally.balanced or event.kept != event.train_rows + event.eval_rows:
            raise FailedError("the rows do not add up; please report this", kind="unbalanced")
        report = self._report(event, self._side(train, sequences), None)
        if evaluation.rows:
            report["eval"] = self._side(evaluation, eval_sequences)
        write_private(self.staging / REPORT, json.dumps(report, indent=2, ensure_ascii=False))
        self._warn(event, train)
        return event

    def _sequences(self, split: _Split) -> list[list[int]]:
        if self.config.data.packing:
            return pack(split.lengths, self.config.data.max_length)
        return [[number] for number in range(len(split.rows))]

    def _joined(self, split: _Split, sequences: list[list[int]]) -> Iterator[Packed]:
        for number, rows in enumerate(sequences, 1):
            yield join([tuple(part.tolist() for part in split.rows[row]) for row in rows])
            self._tick(number, len(sequences), "sequences")

    def _side(self, split: _Split, sequences: list[list[int]]) -> dict[str, Any]:
        room = efficiency(split.lengths, len(sequences), self.config.data.max_length)
        return split.stats.as_dict() | {
            "sequences": len(sequences),
            "packing_efficiency": round(room, 4) if self.config.data.packing else None,
        }

    def _report(
        self, event: DataPrepared, train: dict[str, Any], evaluation: dict[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "schema": 1,
            **self.tally.as_dict(),
            "train": train,
            "eval": evaluation,
            "tokenizer": describe(self.codec),
            "chat_template": self.codec.template.source,
            "seed": self.config.data.seed,
            "settings": settings_of(self.config),
            "prepared": asdict(event),
            "sha256": event.sha256,
        }

    def _warn(self, event: DataPrepared, train: _Split) -> None:
        """Say what a person should know before hours of training."""
        log, notes = self.job.log, self.tally.notes
        log(f"{event.read} rows read, {event.kept} kept, {event.rejected} rejected")
        if event.truncated:
            log(f"{event.truncated} rows are cut at data.max_length; those do not learn to stop",
                "warning")  # fmt: skip
        if not train.stats.stop_trained:
            log("no row teaches a stop token: the tuned model may not know when to end", "warning")
        if notes["special_token_in_text"]:
            log(f"{notes['special_token_in_text']} rows contain the name of a special token; it "
                "becomes that token", "warning")  # fmt: skip
        batch = self.config.effective_batch
        if event.train_sequences < batch:
            log(f"{event.train_sequences} sequences are fewer than one step's {batch}: "
                "lower train.gradient_accumulation_steps", "warning")  # fmt: skip

    def _nothing(self, what: str) -> InputError:
        counts = ", ".join(f"{n} {reason}" for reason, n in self.tally.rejected.most_common(6))
        return InputError(
            f"{what}: {self.tally.read} rows read, {self.tally.kept} kept"
            + (f"; rejected: {counts}" if counts else ""),
            kind="nothing_to_learn",
            remedies=(
                "look at the rows and their reasons: finetui inspect "
                + " ".join(self.config.data.files),
                "rows cut off: raise data.max_length; unknown fields: set data.format",
            ),
        )

    def _take_back(self, row: Rejected) -> None:
        self.tally.reject(row.file, row.reason, was_kept=True)
        self._note(row)

    def _note(self, row: Rejected) -> None:
        entry = asdict(row) | {"raw": row.raw[:RAW_LIMIT]}
        self._rejected.write(_line(entry))

    def _hold_out(self, row: Kept) -> None:
        entry = {
            "messages": row.chat[:-1],
            "expected": row.chat[-1]["content"],
            "file": row.file,
            "line": row.line,
        }
        self._held_out.write(_line(entry))

    def _tick(self, done: int, total: int, unit: str = "rows") -> None:
        """Tell progress now and then; hear an abort always."""
        self.job.control.check()
        now = time.monotonic()
        if now - self._told > _TICK_SECONDS:
            self._told = now
            self.job.progress(done, total, unit)


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
