"""One pass over all rows of a configuration: what becomes of each, in arrays of one entry a row.

The inspector filters, sorts and draws from the arrays while they fill; the report and the
preparation take their account from the same pass.
"""

from __future__ import annotations

import hashlib
import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from core.config.schema import RunConfig
from core.data.blocks import Block, Sample, Scanner, token_columns
from core.data.ledger import Ledger
from core.data.overlay import Overlay
from core.data.pieces import EVERY_KEY, Pieces
from core.data.pipeline import Kept, Tally
from core.data.read.hub.sample import HubSample, Sampling, sample_at
from core.data.read.row import refuse_blank
from core.data.read.sources import RAW_LIMIT, Rejected, Row, Source
from core.data.repeats.exact import Firsts
from core.data.repeats.near import Cluster, NearDuplicates
from core.data.revise import SAMPLE_ROWS, Revisions, SampleEntry
from core.data.spool import Spool
from core.data.tokens.codec import ChatCodec, Encoded
from core.data.tokens.forecast import Forecast, Lengths
from core.data.workers import in_order, processes

Array = npt.NDArray[Any]

IN_PROCESS_BYTES = 24 << 20
"""Files up to this size are scanned here: other processes take half a second to start."""
IN_PROCESS_TOKENS_BYTES = 2 << 20
"""As above, where rows are counted in tokens: that takes 190 bytes of memory a character of a row,
which a process gives back only at its end, and the screen's own goes on for long."""
_TELL_ROWS = 1000
_GUESS_SECONDS = 3.0
"""For so long a rate says little of the time to go."""


@dataclass
class Progress:
    """How far a survey is: bytes of ``total_bytes``, and for how long it has run."""

    done_bytes: int = 0
    total_bytes: int = 0
    stage: str = "reading"
    """``comparing`` while near duplicates are looked for, when all is read."""
    began: float = field(default_factory=time.monotonic)
    _first: tuple[float, int] | None = None
    """When the first piece was read, and how long it was."""

    @property
    def rate(self) -> float:
        """Bytes a second so far."""
        return self.done_bytes / max(1e-3, time.monotonic() - self.began)

    @property
    def remaining_seconds(self) -> float | None:
        """Seconds that the rest takes at the rate since the first piece came, which waits for
        processes to start; None as long as that is no more than a guess."""
        if self._first is None:
            return None
        since, before = self._first
        seconds, done = time.monotonic() - since, self.done_bytes - before
        if seconds < _GUESS_SECONDS or done <= 0:
            return None
        return (self.total_bytes - self.done_bytes) * seconds / done

    def reach(self, done_bytes: int) -> None:
        """So much has been read."""
        self.done_bytes = done_bytes
        if self._first is None:
            self._first = time.monotonic(), done_bytes


class Survey:
    """The rows of ``files``, else of ``config.data.files``, in their order. ``run`` fills it.

    One thread may read while another runs: the arrays always have ``done`` entries. ``reason`` is
    an index into ``reasons`` (0: kept); ``flags`` has a bit for each of ``notes``, ``format`` and
    ``roles`` index ``formats`` and ``patterns``; ``origin`` is the number of the row that this one
    repeats, else -1; ``tokens`` are those before the cut. With a ``codec`` rows are counted in
    tokens; with a ``spool`` (an empty folder) their chats are kept on disk, for ``chat``.
    """

    def __init__(
        self,
        config: RunConfig,
        codec: ChatCodec | None = None,
        *,
        files: Sequence[str] | None = None,
        spool: Path | None = None,
        on_rejected: Callable[[int, Rejected], None] | None = None,
        say: Callable[[str], None] | None = None,
    ):
        self.config = config
        self.codec = codec
        self.files: list[str] = []
        self.sources: list[Source] = []
        """What each file was found to be."""
        self.tally = Tally()
        self.done = 0
        self.complete = False
        self.progress = Progress()
        self.content_sha256 = ""
        """Hash over the chats in their order, whatever files and formats they came in; without
        those that are rejected for their tokens, or not sampled."""
        self.overlay = Overlay(config.data.overlay)
        self.clusters: list[Cluster] = []
        """Near duplicates: the kept row of each, and those that were left out."""
        self._folder = None
        if spool is None and config.clean.near_duplicates:
            self._folder = TemporaryDirectory(prefix="finetui-")
            spool = Path(self._folder.name) / "chats"
            spool.mkdir()
        self.spool = Spool(spool) if spool is not None else None
        self._names = list(config.data.files if files is None else files)
        self._on_rejected, self._say = on_rejected, say
        self._entries: dict[str, int] = {}
        self._lines = 0
        """Lines of the present file before the next piece."""
        self.ledger = Ledger()
        """The arrays themselves."""
        self.lengths = Lengths()
        self.sampled: list[SampleEntry] = []
        """A heap of the sampled rows, the one with the largest key first."""
        self._firsts = Firsts()
        self._revisions = Revisions(self)
        self._stale = False
        self._lock = threading.RLock()
        """Held while rows come in, and while decisions change them."""

    reason = property(lambda self: self._column("reason"))
    late_reason = property(lambda self: self._column("late_reason"))
    chars = property(lambda self: self._column("chars"))
    answer_chars = property(lambda self: self._column("answer_chars"))
    turns = property(lambda self: self._column("turns"))
    tokens = property(lambda self: self._column("tokens"))
    loss_tokens = property(lambda self: self._column("loss_tokens"))
    file = property(lambda self: self._column("file"))
    line = property(lambda self: self._column("line"))
    flags = property(lambda self: self._column("flags"))
    origin = property(lambda self: self._column("origin"))
    format = property(lambda self: self._column("format"))
    roles = property(lambda self: self._column("roles"))
    group = property(lambda self: self._column("group"))

    tokens_used = property(lambda self: self._column("tokens_used"))
    stop_trained = property(lambda self: self._column("stop_trained"))

    @property
    def reasons(self) -> list[str]:
        return self.ledger.words["reason"].names

    @property
    def notes(self) -> list[str]:
        return self.ledger.words["note"].names

    @property
    def formats(self) -> list[str]:
        return self.ledger.words["format"].names

    @property
    def patterns(self) -> list[str]:
        """Orders of roles, by their first letters: ``sua`` is system, user, assistant."""
        return self.ledger.words["roles"].names

    @property
    def groups(self) -> list[str]:
        """Values of ``data.stratify_by``; the first one is for rows without it."""
        return self.ledger.words["group"].names

    @property
    def sets(self) -> Array:
        """Which entry of ``config.data.files`` each row comes from."""
        numbers = np.array([self._entries[name] for name in self.files], np.int64)
        found: Array = numbers[self.file]
        return found

    @property
    def samples(self) -> list[HubSample]:
        """Those of the files that are samples of a hub's large data sets."""
        return [found for source in self.sources if (found := sample_at(source.path)) is not None]

    @property
    def counted(self) -> bool:
        """Whether rows were counted in tokens."""
        return self.codec is not None

    @property
    def kept(self) -> Array:
        """Numbers of the kept rows."""
        return np.flatnonzero(self.reason == 0)

    @property
    def candidates(self) -> Array:
        """Numbers of the rows that are kept, or rejected for nothing but their tokens."""
        late = self._column("late_reason")
        return np.flatnonzero((self.reason == 0) | ((late > 0) & (self.reason == late)))

    @property
    def sample(self) -> list[Sample]:
        """Some kept rows as text: those with the smallest keys, the same whatever the format."""
        return [sample for *_, sample in sorted(self.sampled, reverse=True)]

    @property
    def forecast(self) -> Forecast:
        """What other lengths would cut of the kept rows, and of those that are cut away now."""
        with self._lock:
            rows = self.reason == 0
            if "answer_cut_off" in self.reasons:
                rows = rows | (self.reason == self.reasons.index("answer_cut_off"))
            return self.lengths.forecast(rows if len(self.lengths) else rows[:0])

    def noted(self, name: str) -> Array:
        """Which rows have this note."""
        if name not in self.notes:
            return np.zeros(self.done, np.bool_)
        bit = np.uint64(1 << self.notes.index(name))
        found: Array = (self.flags & bit) != 0
        return found

    def chat(self, number: int) -> Kept:
        """The chat of a row that was not rejected on its own. Needs a spool."""
        assert self.spool is not None
        chat = self.spool.get(number, int(self.ledger.columns["place"][number]))
        return Kept(*self.place(number), chat)

    def key(self, numbers: Array) -> Array:
        """What duplicates are told by, 16 bytes a row."""
        return self.ledger.keys[numbers]

    def run(self, on_progress: Callable[[Survey], None] | None = None) -> Survey:
        """Look at all rows. ``on_progress`` hears of it now and then; it may raise to end it.

        Raises InputError for files that cannot be used at all, FailedError when one changes.
        """
        sampling = Sampling.of(self.config)
        pieces = Pieces(self._names, self._say, numbered=bool(self.overlay), sampling=sampling)
        self.sources, self._entries = pieces.sources, pieces.entries
        self.progress = Progress(total_bytes=pieces.total_bytes)
        for block in self._scanned(pieces):
            with self._lock:
                self._enter(block)
            self.progress.reach(block.piece.reached)
            pieces.below = self._bound()
            if on_progress is not None:
                on_progress(self)
        self.tally.blank_lines.update(pieces.blank_lines)
        self._refuse_blankness(pieces)
        if self.config.clean.near_duplicates:
            self.progress.stage = "comparing"
            self._leave_out_near(on_progress)
        self.progress.done_bytes = pieces.total_bytes
        with self._lock:
            self.content_sha256 = self._hash()
            self.settle()
            self.complete = True
        if on_progress is not None:
            on_progress(self)
        return self

    def take_back(self, number: int, rejected: Rejected) -> None:
        """Reject one of the ``candidates``, for a reason that only a later stage knows."""
        was = self.reasons[int(self.reason[number])]
        self.ledger.columns["reason"][number] = self.ledger.words["reason"].number(rejected.reason)
        self.tally.move(rejected.file, was, rejected.reason)
        self._tell(number, rejected)

    def enter_tokens(self, number: int, encoded: Encoded) -> None:
        """Take in what a later stage knows of a row in tokens."""
        for name, value in token_columns(encoded):
            self.ledger.columns[name][number] = value
        for note in encoded.notes:
            self.ledger.columns["flags"][number] |= np.uint64(
                1 << self.ledger.words["note"].number(note)
            )

    def revise(self, rows: Mapping[int, Row | Rejected], overlay: Overlay) -> None:
        """Let these rows, given as their files have them, be what ``overlay`` has decided by now.

        At any time, from any thread; rows that were not looked at yet follow when they are. Near
        duplicates stay what they were found to be. ``settle`` when all is decided.
        """
        with self._lock:
            self._revisions.add(rows, overlay)
            self._stale = self.complete

    def close(self) -> None:
        """Remove the chats from disk."""
        if self.spool is not None:
            self.spool.close()
        if self._folder is not None:
            self._folder.cleanup()

    def place(self, number: int) -> tuple[str, int]:
        """File and line of a row."""
        return self.files[int(self.file[number])], int(self.line[number])

    def _scanned(self, pieces: Pieces) -> Iterator[Block]:
        """The pieces scanned, in order: here when they are few, else on all cores."""
        folder = self.spool.folder if self.spool is not None else None
        count = processes()
        tokens = self.codec is not None
        limit = min(IN_PROCESS_BYTES, IN_PROCESS_TOKENS_BYTES) if tokens else IN_PROCESS_BYTES
        if pieces.total_bytes <= limit or count == 1:
            yield from map(Scanner(self.config, folder, False, self.codec), pieces)
        else:
            settings = (self.config, folder, tokens)
            yield from in_order(Scanner, settings, pieces, count)

    def _enter(self, block: Block) -> None:
        """Take in the rows that come next."""
        first, count = self.done, len(block.keys)
        rows = slice(first, first + count)
        if self.files[-1:] != [block.piece.file]:
            self.files.append(block.piece.file)
            self.overlay.place(block.piece.file)
            self._lines = 0
        self.ledger.make_room(first + count)
        self.ledger.put(rows, block)
        if block.piece.first_line is None:
            self.ledger.columns["line"][rows] += self._lines
            self._lines += count + block.blanks
        self.ledger.columns["file"][rows] = len(self.files) - 1
        self.overlay.applied |= block.applied
        self.tally.unlearned.update(block.unlearned)
        self.tally.blank_lines[block.piece.file] += block.blanks
        if self.spool is not None:
            self.spool.add(first, block.piece.number)
        self.lengths.extend(block.lengths)
        rejected = [(first + number, row) for number, row in block.rejected]
        rejected += self._repeats(rows) + self._late(rows, block)
        self.done = first + count
        self._count(rows, block.piece.file)
        self._revisions.catch_up(first)
        self._sample_of(first, block)
        for number, row in sorted(rejected, key=lambda pair: pair[0]):
            self._tell(number, row)

    def _repeats(self, rows: slice) -> list[tuple[int, Rejected]]:
        """Reject the rows that repeat an earlier one."""
        origin, reason = self.ledger.columns["origin"], self.ledger.columns["reason"]
        origin[rows] = -1
        numbers = np.flatnonzero(reason[rows] == 0) + rows.start
        origins = self._firsts.origins(self.ledger.keys[numbers], numbers)
        repeated = origins >= 0
        if not repeated.any():
            return []
        origin[numbers] = origins
        reason[numbers[repeated]] = self.ledger.words["reason"].number("duplicate")
        pairs = zip(numbers[repeated].tolist(), origins[repeated].tolist(), strict=True)
        return [(number, self._repeat(number, first)) for number, first in pairs]

    def _repeat(self, number: int, first: int) -> Rejected:
        file, line = self.files[-1], int(self.ledger.columns["line"][number])
        columns = self.ledger.columns  # the first one may be in the block that is coming in
        other, place = self.files[int(columns["file"][first])], int(columns["line"][first])
        where = f"line {place}" if other == file else f"{other}, line {place}"
        return Rejected(file, line, "duplicate", f"repeats {where}")

    def _late(self, rows: slice, block: Block) -> list[tuple[int, Rejected]]:
        """Reject the rows whose tokens cannot be learned, where they repeat no other."""
        reason, late = self.ledger.columns["reason"][rows], self.ledger.columns["late_reason"][rows]
        now = (reason == 0) & (late > 0)
        reason[now] = late[now]
        return [(rows.start + number, row) for number, row in block.late if now[number]]

    def _count(self, rows: slice, file: str) -> None:
        numbers = np.bincount(
            self.ledger.columns["reason"][rows], minlength=len(self.reasons)
        ).tolist()
        rejected = {self.reasons[n]: count for n, count in enumerate(numbers) if n and count}
        self.tally.enter(file, numbers[0], rejected)

    def _tell(self, number: int, rejected: Rejected) -> None:
        if self._on_rejected is None:
            return
        rejected = replace(rejected, line=int(self.ledger.columns["line"][number]))
        place = int(self.ledger.columns["place"][number])
        if not rejected.raw and self.spool is not None and place >= 0:
            raw = self.spool.text(number, place, RAW_LIMIT)
            rejected = replace(rejected, raw=raw)
        self._on_rejected(number, rejected)

    def settle(self) -> None:
        """Count anew what is to be known of the rows that are kept."""
        if self._stale:
            self._stale = False
            self.content_sha256 = self._hash()
        kept = self.kept
        tally, formats = self.tally, np.bincount(self.format[kept], minlength=len(self.formats))
        tally.formats = Counter(dict(zip(self.formats, formats.tolist(), strict=True)))
        tally.notes = Counter({name: int(self.noted(name)[kept].sum()) for name in self.notes})
        for counts in (tally.formats, tally.notes):
            for name in [name for name, count in counts.items() if not count]:
                del counts[name]

    def _leave_out_near(self, on_progress: Callable[[Survey], None] | None) -> None:
        """Reject rows that nearly repeat another one."""

        def told(_: int) -> None:
            if on_progress is not None:
                on_progress(self)

        clean = self.config.clean
        folder = self.spool.folder if self.spool is not None else None
        with NearDuplicates(clean.near_threshold, clean.near_keep, folder) as near:
            for count, number in enumerate(self.kept.tolist()):
                if number not in self._revisions.rows:  # its chat on disk is not what it is now
                    near.add(number, self.chat(number).chat)
                if count % _TELL_ROWS == 0:
                    told(count)
            self.clusters = near.clusters(told)
        with self._lock:
            self._reject_near()

    def _reject_near(self) -> None:
        for cluster in self.clusters:
            file, line = self.place(cluster.kept)
            for number, share in cluster.others:
                if self.reason[number]:
                    continue  # dropped meanwhile
                own = self.place(number)
                where = f"line {line}" if own[0] == file else f"{file}, line {line}"
                detail = f"shares {share:.0%} of its word groups with {where}"
                self.ledger.columns["origin"][number] = cluster.kept
                self.take_back(number, Rejected(*own, "near_duplicate", detail))

    def _refuse_blankness(self, pieces: Pieces) -> None:
        for path in pieces.paths:
            counts = self.tally.by_file.get(str(path))
            if counts is None or not counts["read"]:
                refuse_blank(str(path))

    def _hash(self) -> str:
        return hashlib.sha256(self.ledger.contents[self.candidates].tobytes()).hexdigest()

    def _sample_of(self, first: int, block: Block) -> None:
        there = self._revisions.sampled()
        for number, sample in block.sample:
            entry = (-sample.key, first + number, sample)
            if self.ledger.columns["reason"][first + number] or first + number in there:
                continue
            if len(self.sampled) < SAMPLE_ROWS:
                heapq.heappush(self.sampled, entry)
            elif entry > self.sampled[0]:
                heapq.heapreplace(self.sampled, entry)

    def _bound(self) -> int:
        return EVERY_KEY if len(self.sampled) < SAMPLE_ROWS else -self.sampled[0][0]

    def _column(self, name: str) -> Array:
        done = self.done
        return self.ledger.columns[name][:done]


def survey(
    config: RunConfig,
    codec: ChatCodec | None = None,
    on_progress: Callable[[Survey], None] | None = None,
) -> Survey:
    """Look at all rows of a configuration; with a ``codec`` also in tokens."""
    return Survey(config, codec).run(on_progress)
