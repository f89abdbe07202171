"""The rows of the chosen data files as the inspector looks at them: by number, with what the
survey knows of all of them and what was decided by hand about some.

Nothing here is imported before the first paint: the readers and the tokenizer load in a thread.
"""

from __future__ import annotations

import resource
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.config.errors import RefusedError
from core.config.schema import RunConfig
from core.data.chats.formats import Chat
from core.data.filter import Array
from core.data.overlay import EDITED, Key, Mark, Overlay
from core.data.pipeline import Kept, Pipeline
from core.data.read.hub.sample import Sampling
from core.data.read.index import RowIndex
from core.data.read.paths import expand
from core.data.read.sources import Rejected, Row
from core.data.tokens.encoded import Encoded
from tui.known import Known
from tui.look import glance, is_too_long, look

if TYPE_CHECKING:  # the tokenizers wait until the first rows are drawn
    from core.data.overlays import Nearby
    from core.data.tokens.codec import ChatCodec

_REVISED = 1000
"""Rows that a survey looks at again at once."""
_OTHER_FILES = 256
"""Files that the program has open besides the data."""


class Rows(Known):
    """The rows of several files, one after the other. One thread scans, others may read."""

    def __init__(self, config: RunConfig):
        super().__init__(config)
        self.files: list[str] = []
        """The files themselves; of the names in the settings some may mean several."""
        self.root: Path | None = None
        """Where the runs are whose pace tells how long a training takes."""
        self._overlay = Overlay(config.data.overlay)
        self.pipeline = self._pipeline()
        self.codec: ChatCodec | None = None
        self.version = 0
        """Grows when rows may look otherwise than before."""
        self.revision = 0
        """Grows with every decision."""
        self._decided: set[int] = set()
        """Rows that were decided about here."""
        self.fields: tuple[str, ...] = ()
        """Fields of the rows that are shown as columns."""
        self._indexes: list[RowIndex] = []
        self._opened_as: list[tuple[int, ...]] = []
        self._starts: list[int] = [0]
        self._lock = threading.Lock()
        self._counted: dict[int, int] = {}
        self.look = lru_cache(maxsize=64)(partial(look, self))
        self.glance = lru_cache(maxsize=4096)(partial(glance, self))

    # -- finding rows --------------------------------------------------------------------------

    def open(self, say: Callable[[str], None] | None = None) -> None:
        """Find the first rows; `say` hears of downloads, and may raise to end one that streams.
        Raises InputError for files that cannot be used at all."""
        paths = expand(self.config.data.files, say, Sampling.of(self.config))
        _allow_files(len(paths))
        self.files = [str(path) for path in paths]
        self._opened_as = [_state(path) for path in paths]
        self._indexes = [RowIndex(path) for path in paths]
        self._indexes[0].scan()

    @property
    def overlay(self) -> Overlay:
        """What was decided by hand about rows."""
        return self._overlay

    @overlay.setter
    def overlay(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self.pipeline = self._pipeline()

    def _pipeline(self) -> Pipeline:
        """What rows go through, with the decisions as they are now."""
        pipeline = Pipeline(self.config)
        pipeline.overlay = self._overlay
        return pipeline

    def take(self, found: Sequence[Nearby]) -> None:
        """Take the decisions of the first overlay file that can be read, if there is one."""
        usable = [one for one in found if not one.problem]
        if usable:
            self.overlay = Overlay(usable[0].path)

    def scan(self, told: Callable[[], bool]) -> None:
        """Find all other rows, in a thread: a second a gigabyte. `told` is called now and then,
        and says whether to go on."""
        for index in self._indexes:
            while index.scan():
                if not told():
                    return
            self._starts.append(self._starts[-1] + index.count)
        told()

    def require_unchanged(self) -> None:
        """Raise RefusedError when a file is not what it was when it was opened: what stands at the
        place of a row may be another one by now."""
        for what in filter(None, map(self._change_of, range(len(self.files)))):
            raise RefusedError(
                f"{what}, so this row may be another one by now: nothing was done",
                kind="data_changed",
                remedies=("r reads the data again; what was decided before is kept",),
            )

    def change(self, number: int) -> str:
        """What happened to the file of a row since it was opened; empty for nothing."""
        return self._change_of(self._file_of(number))

    def _change_of(self, file: int) -> str:
        path = Path(self.files[file])
        now = _state(path)
        if now == self._opened_as[file]:
            return ""
        what = "was changed" if now else "was moved or removed"
        return f"{path.name} {what} since it was opened here"

    def _file_of(self, number: int) -> int:
        return min(bisect_right(self._starts, number), len(self._indexes)) - 1

    def close(self) -> None:
        for index in self._indexes:
            index.close()

    @property
    def complete(self) -> bool:
        """Whether all rows were found."""
        return len(self._starts) > len(self._indexes)

    @property
    def count(self) -> int:
        """Rows found so far."""
        found = len(self._starts) - 1
        here = self._indexes[found].count if found < len(self._indexes) else 0
        return self._starts[found] + here

    @property
    def scanned(self) -> float:
        """Part of the files that was looked through, 0 to 1."""
        return sum(index.scanned for index in self._indexes) / max(1, len(self._indexes))

    def source(self, number: int) -> Row | Rejected:
        """One row as its file has it."""
        file = self._file_of(number)
        with self._lock:
            return self._indexes[file].row(number - self._starts[file])

    def row(self, number: int) -> Row | Rejected:
        """One row as it was decided by hand."""
        return self.overlay.apply(self.source(number))

    def chat(self, number: int) -> Chat | None:
        """What would be learned of a row; None when nothing."""
        outcome = self.pipeline.outcome(self.source(number))
        return outcome.chat if isinstance(outcome, Kept) else None

    def number_at(self, file: str, line: int) -> int | None:
        """The first row at a line of a file, or behind it; None when there is none."""
        names = [n for n, name in enumerate(self.files) if file in name] if file else [0]
        for place in names[: 1 if names else 0]:
            low = self._starts[place] if place < len(self._starts) else self.count
            end = self._starts[place + 1] if place + 1 < len(self._starts) else self.count
            high = end
            while low < high:
                middle = (low + high) // 2
                if self.source(middle).line < line:
                    low = middle + 1
                else:
                    high = middle
            return low if low < end else None
        return None

    def holding(
        self, needles: Sequence[bytes], first: int, count: int
    ) -> Iterator[tuple[Array, int]]:
        """Numbers from `first` to `count` of rows that may hold all of some lower-case bytes,
        without reading each, and up to where they are known; edited ones come at the beginning."""
        edited = self._edited()
        edited = edited[(edited >= first) & (edited < count)]
        if len(edited):
            yield edited, first
        for start, index in zip(self._starts, self._indexes, strict=False):
            for numbers, done in index.holding(needles, first - start, count - start):
                yield np.setdiff1d(numbers + start, edited, assume_unique=True), done + start

    def _edited(self) -> Array:
        """Numbers of the rows whose text is not that of their file, as far as they are known."""
        here = [number for number in self._decided if self.glance(number).decided == "edited"]
        edited = [np.array(here, dtype=np.int64)]
        if self.survey is not None:
            edited.append(np.flatnonzero(self.survey.noted(EDITED)))
        return np.unique(np.concatenate(edited))

    # -- looking -------------------------------------------------------------------------------

    def use(self, codec: ChatCodec | None, config: RunConfig) -> None:
        """Look at rows through another tokenizer or other settings."""
        self.codec, self.config = codec, config
        self.pipeline = self._pipeline()
        self._counted.clear()
        self.forget()

    def show_fields(self, names: Iterable[str]) -> None:
        """Have the table show these fields of each row."""
        self.fields = tuple(names)
        self.glance.cache_clear()

    def forget(self) -> None:
        """Look at all rows anew."""
        self.version += 1
        self.look.cache_clear()
        self.glance.cache_clear()

    def reason(self, number: int) -> str:
        """Why a row is rejected; empty for a good one, or where it is not known yet."""
        if self.survey is not None and number < self.survey.done:
            at = int(self.survey.reason[number])
            return self.survey.reasons[at] if at else ""
        return self.glance(number).reason

    def tokens(self, number: int) -> int | None:
        """The length of a row in tokens; None where it is not known (yet)."""
        surveyed = self.survey is not None and self.survey.codec is not None
        if self.survey is not None and surveyed and number < self.survey.done:
            return int(self.survey.tokens[number]) or None
        return self._counted.get(number) or None

    def wants_tokens(self, number: int) -> bool:
        """Whether the length of a row would still have to be found."""
        surveyed = self.survey is not None and self.survey.codec is not None
        known = number in self._counted or (surveyed and number < self.known)
        return self.codec is not None and not known and not self.glance(number).reason

    def counted(self, number: int, tokens: int) -> None:
        """The length of a row in tokens was found; 0: it has none."""
        self._counted[number] = tokens

    def count_tokens(self, number: int) -> None:
        """Find the length of a row in tokens, for the table."""
        # Of a row of megabytes the survey tells: here it would hold up the keys, and cost memory.
        chat = None if is_too_long(self.row(number)) else self.chat(number)
        encoded = self.codec.encode(chat) if chat and self.codec is not None else None
        self.counted(number, encoded.full_length if isinstance(encoded, Encoded) else 0)

    def answer(self, number: int) -> int | None:
        """The tokens of a row that carry loss; None where that is not known (yet)."""
        if self.survey is not None and self.survey.codec is not None:
            known = self.number("answer")
            return (int(known[number]) or None) if number < len(known) else None
        return None

    def part(self, number: int) -> float:
        """How far the first rows, up to a number, are of all rows that there will be, 0 to 1."""
        return min(1.0, number / max(1, self.count)) * self.scanned

    # -- deciding ------------------------------------------------------------------------------

    def decided(self, number: int) -> Mark | None:
        """What was decided by hand about a row."""
        return self.overlay.mark_of(self.source(number))

    def drop(self, number: int) -> None:
        """Leave a row out."""
        self.overlay.drop(self._source_now(number))
        self.look_again(number)

    def drop_all(self, numbers: Sequence[int], *, goes_on: bool = False) -> None:
        """Leave many rows out: all of them, or none. `goes_on`: together with those before."""
        sources = [self.source(number) for number in numbers]
        self.require_unchanged()
        self.overlay.drop(*sources, goes_on=goes_on)
        self.look_again(*numbers)

    def restore_all(self, numbers: Sequence[int], *, goes_on: bool = False) -> None:
        """Take many rows as their files have them, as `drop_all` leaves them out."""
        sources = [self.source(number) for number in numbers]
        self.require_unchanged()
        self.overlay.restore(*sources, goes_on=goes_on)
        self.look_again(*numbers)

    def restore(self, number: int) -> None:
        """Take a row as its file has it."""
        self.overlay.restore(self._source_now(number))
        self.look_again(number)

    def edit(self, number: int, value: dict[str, object]) -> None:
        """Let a value take the place of a row; the row's own value restores it."""
        source = self._source_now(number)
        if isinstance(source, Row) and source.value == value:
            self.overlay.restore(source)
        else:
            self.overlay.edit(source, value)
        self.look_again(number)

    def _source_now(self, number: int) -> Row | Rejected:
        """One row as its file has it, which has not changed."""
        source = self.source(number)
        self.require_unchanged()
        return source

    def unmet(self) -> list[Mark]:
        """Decisions whose row is not there any more. Ask when the survey is complete."""
        lost = self.overlay.unmet()
        for number in self._rows_at([mark.key for mark in lost]):
            self.overlay.apply(self.source(number))
        return [mark for mark in lost if mark.key not in self.overlay.applied]

    def _rows_at(self, keys: Sequence[Key]) -> list[int]:
        """Rows at these places, as the overlay names them, and perhaps some at others."""
        assert self.survey is not None
        places, lines = {key[0] for key in keys}, [key[1] for key in keys]
        files = [
            n for n, name in enumerate(self.survey.files) if self.overlay.place(name) in places
        ]
        hits = np.isin(self.survey.file, files) & np.isin(self.survey.line, lines)
        return [int(number) for number in np.flatnonzero(hits)]

    def undo(self) -> list[int]:
        """Take the last decision back; the rows that it was about, as far as they are known."""
        keys = set(self.overlay.undo())
        lines = {line for _, line, _ in keys}
        found = []
        for number in sorted(self._decided):
            source = self.source(number)
            if source.line in lines and self.overlay.key(source) in keys:
                found.append(number)
        self.look_again(*found)
        return found

    def look_again(self, *numbers: int) -> None:
        """Note what decisions made of rows."""
        self.forget()
        self.revision += 1
        self._decided.update(numbers)
        for number in numbers:
            self._counted.pop(number, None)
        surveys = [survey for survey in (self.survey, self.coming) if survey is not None]
        for start in range(0, len(numbers), _REVISED):
            rows = {number: self.source(number) for number in numbers[start : start + _REVISED]}
            for survey in surveys:
                survey.revise(rows, self.overlay)


def _state(path: Path) -> tuple[int, ...]:
    """What tells whether a file is still the same; empty for one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _allow_files(count: int) -> None:
    """Let the program hold that many files open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
