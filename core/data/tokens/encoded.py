"""One row in tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from core.config.counted import counted
from core.data.chats.chat import Defect

NO_LOSS = -100
"""The label of a token that carries no loss."""

Ids = npt.NDArray[np.int32]


class Source(Protocol):
    """Tokens with their places in a text: an ``Encoding`` of tokenizers, or several joined."""

    @property
    def ids(self) -> list[int]: ...

    @property
    def offsets(self) -> list[tuple[int, int]]: ...

    def __len__(self) -> int: ...

    def char_to_token(self, char_pos: int, /) -> int | None: ...

    def token_to_chars(self, token_index: int, /) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class Encoded:
    """One chat, or one raw text, in tokens.

    The lists are made when they are asked for and have the same length. ``labels`` repeat the id
    where the token carries loss and are -100 elsewhere; ``offsets`` are character ranges of
    ``text``, without gaps.
    """

    text: str
    length: int
    """Tokens after the cut."""
    full_length: int
    """Tokens before the cut."""
    loss: tuple[tuple[int, int], ...]
    """Ranges of tokens that carry loss, before the cut."""
    stop: bool
    """The last answer ends in a stop token that carries loss, before the cut."""
    source: Source = field(repr=False, compare=False)
    max_length: int | None = None
    raw: bool = False
    """A raw text: it is not cut, but becomes several sequences where it is too long."""
    notes: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict, compare=False)
    """For some notes, a sentence that says what it is in this row."""

    def cut(self, max_length: int | None) -> Encoded | Defect:
        """At most ``max_length`` tokens of an uncut row, or why nothing of it can be learned."""
        whole = max_length is None or self.raw or self.full_length <= max_length
        length = self.full_length if whole else max_length
        assert length is not None
        if not any(start < min(length, end) for start, end in self.loss):
            tokens = counted(self.full_length, "token")
            detail = f"no token of an answer is within {length} of its {tokens}"
            return Defect("nothing_to_learn" if whole else "answer_cut_off", detail)
        return replace(self, length=length, max_length=max_length)

    @property
    def truncated(self) -> bool:
        return self.length < self.full_length

    @property
    def stop_trained(self) -> bool:
        """The last answer's stop token carries loss, so that the model learns to end."""
        return self.stop and not self.truncated

    @property
    def loss_tokens(self) -> int:
        """Tokens that carry loss, after the cut."""
        if self.raw:
            return sum(end - start - 1 for start, end in self.ranges)
        return sum(max(0, min(end, self.length) - start) for start, end in self.loss)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The ranges of tokens that become sequences: one, or several of a long raw text."""
        if not self.raw or self.max_length is None or self.length <= self.max_length:
            return [(0, self.length)]
        starts = list(range(0, self.length, self.max_length))
        if self.length - starts[-1] == 1:
            starts[-1] -= 1  # a single token has nothing to be predicted from
        return list(zip(starts, [*starts[1:], self.length], strict=True))

    @property
    def sequences(self) -> Iterator[tuple[Ids, Ids]]:
        """Ids and labels of each sequence; the first token of each carries no loss."""
        ids = np.array(self.source.ids[: self.length], np.int32)
        labels = self._labels(ids)
        for start, end in self.ranges:
            own = labels[start:end].copy()
            own[:1] = NO_LOSS
            yield ids[start:end], own

    @cached_property
    def ids(self) -> list[int]:
        return self.source.ids[: self.length]

    @cached_property
    def labels(self) -> list[int]:
        labels: list[int] = self._labels(np.array(self.ids, np.int32)).tolist()
        return labels

    @cached_property
    def offsets(self) -> list[tuple[int, int]]:
        return _gapless(self.source.offsets[: self.length])

    @property
    def pieces(self) -> list[str]:
        """The text of each token; empty for the later bytes of one character."""
        reached, pieces = 0, []
        for start, end in self.offsets:
            pieces.append(self.text[max(start, reached) : end])
            reached = max(reached, end)
        return pieces

    def _labels(self, ids: Ids) -> Ids:
        labels = np.full(len(ids), NO_LOSS, np.int32)
        for start, end in self.loss:
            labels[start:end] = ids[start:end]
        return labels


class Joined:
    """Tokens of pieces of a text that were encoded one by one."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.offsets: list[tuple[int, int]] = []

    def add(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> None:
        """The next piece's tokens, with places in the whole text."""
        self.ids += ids
        self.offsets += offsets

    def __len__(self) -> int:
        return len(self.ids)

    def char_to_token(self, char_pos: int, /) -> int | None:
        token = bisect_right(self.offsets, char_pos, key=lambda offset: offset[1])
        if token == len(self.ids) or self.offsets[token][0] > char_pos:
            return None
        return token

    def token_to_chars(self, token_index: int, /) -> tuple[int, int] | None:
        return self.offsets[token_index]


def covering(source: Source, place: int, limit: int) -> int:
    """The first token that reaches beyond a character; the number of tokens where there is none.

    Byte-level tokenizers leave the space before a word out; it belongs to the word.
    """
    for char in range(place, limit):
        token = source.char_to_token(char)
        if token is not None:
            return token
    return len(source)


def starting(source: Source, place: int, limit: int) -> int:
    """The first token that begins at a character or after it."""
    token = covering(source, place, limit)
    if token == len(source):
        return token
    begin = source.token_to_chars(token)
    return token + 1 if begin is not None and begin[0] < place else token


def _gapless(offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Offsets in which each character belongs to a token."""
    if not offsets:
        return []
    starts, ends = np.array(offsets, dtype=np.int64).T
    reached = np.maximum.accumulate(ends)
    begins = np.minimum(starts, np.concatenate([[0], reached[:-1]]))
    return list(zip(begins.tolist(), np.maximum(begins, ends).tolist(), strict=True))
