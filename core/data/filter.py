"""The filter line of the inspector: `reason:duplicate tokens>2048 /refund/ role:tool -draft`.

Terms stand side by side and must all hold. What the survey knows is asked of its arrays; only the
rows that pass are read for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from core.config.errors import FailedError, InputError
from core.data.chats.formats import Chat
from core.data.read.sources import Rejected, Row

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

NUMBERS: Mapping[str, str] = {
    "tokens": "length in tokens, before the cut",
    "answer": "tokens that carry loss",
    "chars": "length in characters",
    "turns": "number of turns",
    "row": "number of the row",
    "line": "line in its file",
}
"""What is compared with a number, and what it is."""

WORDS: Mapping[str, str] = {
    "reason": "why it is rejected",
    "file": "name of its file",
    "note": "what was done to it, or found in it",
    "is": "kept, rejected, dropped, edited or cut",
    "role": "has a turn of this role",
}
"""What is asked by name, and what it is."""

SIDES: Mapping[str, str] = {
    "user": "text in what the user says",
    "assistant": "text in what the assistant says",
    "system": "text in the system turn",
    "tool": "text in what a tool says",
}
"""What is asked of the turns, and what it is."""

STATES = ("kept", "rejected", "dropped", "edited", "cut")

PATTERN_SECONDS = 0.5
"""A pattern that needs longer for one row is refused: it would take for ever for all of them."""

_NAMED = 8
_KEYED = re.compile(r"([.\w]+(?:\.\w+)*)(:|>=|<=|>|<|=)(.*)", re.DOTALL)
_NUMBER = re.compile(r"([\d_,]*\.?\d+)(k?)", re.IGNORECASE)


class Facts(Protocol):
    """What is known of all rows without reading them: an entry a row."""

    def number(self, key: str) -> Array:
        """The numbers that `NUMBERS` names."""

    def word(self, key: str, text: str) -> Mask:
        """The rows for which a key of `WORDS` says ``text``, or begins or goes on with it."""


class Pattern:
    """A text or a regular expression, looked for in texts of any origin."""

    def __init__(self, text: str, *, regex: bool = False, case: bool = False):
        # Not `re`: patterns and rows are both of any origin, so a search must be able to end.
        import regex as engine

        self.text, self.regex = text, regex
        source = text if regex else engine.escape(text, special_only=True)
        try:
            self._compiled = engine.compile(source, 0 if case else engine.IGNORECASE)
        except engine.error as error:
            raise _wrong(f"/{text}/ is no regular expression: {error}") from error

    def found(self, text: str) -> bool:
        """Whether it stands in a text. Raises FailedError when that takes too long."""
        return self.span(text) is not None

    def span(self, text: str, start: int = 0) -> tuple[int, int] | None:
        """Where it stands first, from ``start`` on."""
        try:
            match = self._compiled.search(text, start, timeout=PATTERN_SECONDS, concurrent=True)
        except TimeoutError as error:
            raise FailedError(
                f"/{self.text}/ takes too long on one row",
                kind="slow_pattern",
                remedies=("make it simpler: repeats inside of repeats, as in (a+)+, explode",),
            ) from error
        return match.span() if match else None

    @cached_property
    def plain(self) -> bytes | None:
        """The text as it stands in JSON however that was written; None where there are several
        ways to write it."""
        safe = self.text.isascii() and self.text.isprintable() and not set(self.text) & set('"\\/')
        return self.text.lower().encode() if safe and not self.regex else None


@dataclass(frozen=True)
class Term:
    """One condition. ``key`` is empty for text anywhere in the row."""

    key: str
    negated: bool = False
    low: float = -np.inf
    high: float = np.inf
    words: tuple[str, ...] = ()
    pattern: Pattern | None = None

    @property
    def cheap(self) -> bool:
        """Whether the survey's arrays answer it."""
        return self.key in NUMBERS or self.key in WORDS

    def mask(self, facts: Facts) -> Mask:
        """The rows for which it holds, of a cheap one."""
        if self.key in NUMBERS:
            values = facts.number(self.key)
            found: Mask = (values >= self.low) & (values <= self.high)
        else:
            found = facts.word(self.key, self.words[0])
            for word in self.words[1:]:
                found = found | facts.word(self.key, word)[: len(found)]  # more may be known by now
        return ~found if self.negated else found

    def holds(self, row: Row | Rejected, chat: Callable[[], Chat | None]) -> bool:
        """Whether it holds for a row that was read, of one that is not cheap."""
        return self._found(row, chat) != self.negated

    def _found(self, row: Row | Rejected, chat: Callable[[], Chat | None]) -> bool:
        assert self.pattern is not None
        if self.key in SIDES:
            said = (m["content"] for m in chat() or [] if m["role"] == self.key)
            return any(self.pattern.found(text) for text in said)
        if self.key:
            value = field_of(row, self.key[1:])
            return value is not None and self.pattern.found(value)
        return any(self.pattern.found(text) for text in texts_of(row))


@dataclass(frozen=True)
class Filter:
    """All conditions of a line."""

    terms: tuple[Term, ...] = ()

    @property
    def reads(self) -> bool:
        """Whether rows have to be read for it."""
        return any(not term.cheap for term in self.terms)

    def mask(self, facts: Facts, count: int) -> Mask:
        """The rows that the cheap conditions leave, of ``count``."""
        left: Mask = np.ones(count, dtype=bool)
        for term in self.terms:
            if term.cheap:
                left &= term.mask(facts)[:count]
        return left

    def holds(self, row: Row | Rejected, chat: Callable[[], Chat | None]) -> bool:
        """Whether the other conditions hold for a row; ``chat`` gives its chat when asked."""
        return all(term.holds(row, chat) for term in self.terms if not term.cheap)

    @property
    def needles(self) -> list[bytes]:
        """Bytes (lower case) that a line of JSON must all hold to have a chance."""
        patterns = (t.pattern for t in self.terms if t.key == "" and not t.negated)
        return [p.plain for p in patterns if p is not None and p.plain is not None]


def parse(line: str) -> Filter:
    """The conditions of a line. Raises InputError that says what is wrong and what is known."""
    return Filter(tuple(_term(piece) for piece in pieces(line)))


def check_words(wanted: Filter, known: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError for a word that fits none of those that ``known`` has for its key, such as
    a reason for which no row is rejected: it would only leave no rows."""
    for term in wanted.terms:
        names = known.get(term.key)
        for word in term.words if names is not None else ():
            if not any(word in name.lower() for name in names or ()):
                raise _nothing_of(term.key, word, names or ())


def _nothing_of(key: str, word: str, names: Sequence[str]) -> InputError:
    what = {"reason": "no row is rejected for", "note": "no row has the note",
            "file": "no file has in its name", "role": "no turn is of the role"}  # fmt: skip
    names = [Path(name).name for name in names] if key == "file" else names
    near = get_close_matches(word, names, 1)
    shown = ", ".join(names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")
    hints = [f"did you mean {near[0]}?"] if near else []
    return _wrong(
        f"{what[key]} {word}", *hints, f"there are: {shown}" if shown else "there are none"
    )


def pieces(line: str) -> list[str]:
    """A line cut at spaces, but not inside of quotes or slashes."""
    found, at = [], 0
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        end = _end(line, at)
        found.append(line[at:end])
        at = end
    return found


def _end(line: str, start: int) -> int:
    """Where the piece that begins at ``start`` ends."""
    at = start
    while at < len(line) and not line[at].isspace():
        opens = line[at] in '"/' and (at == start or line[at - 1] in "-!:")
        at = _close(line, at) if opens else at + 1
    return at


def _close(line: str, start: int) -> int:
    """Behind the mark that closes the one at ``start``; the end of the line without one."""
    at = start + 1
    while at < len(line) and line[at] != line[start]:
        at += 2 if line[at] == "\\" and line[start] == "/" else 1
    return min(len(line), at + 1)


def _term(piece: str) -> Term:
    negated = piece[0] in "-!" and len(piece) > 1
    body = piece[1:] if negated else piece
    keyed = None if body[0] in '"/' else _KEYED.fullmatch(body)
    if keyed is None:
        return Term("", negated, pattern=_pattern(body))
    key, sign, value = keyed.groups()
    if not value.strip('"'):
        raise _wrong(f"{key}{sign} needs a value", _example(key))
    if key in NUMBERS:
        low, high = _range(key, sign, value)
        return Term(key, negated, low, high)
    if sign not in ":=" or not (key in WORDS or key in SIDES or key.startswith(".")):
        raise _unknown(key, sign)
    if key in WORDS:
        words = tuple(word.lower() for word in value.strip('"').split(",") if word)
        for word in words:
            if key == "is" and word not in STATES:
                raise _wrong(f"is:{word} is not known", f"known: {', '.join(STATES)}")
        return Term(key, negated, words=words)
    return Term(key, negated, pattern=_pattern(value))


def _pattern(text: str) -> Pattern:
    if text.startswith("/"):
        body, _, marks = text[1:].rpartition("/")
        if not body or marks not in ("", "c"):
            raise _wrong(f"{text} has no end", "a pattern stands between slashes: /refund|return/")
        return Pattern(body, regex=True, case=marks == "c")
    return Pattern(text.strip('"') if len(text) > 1 else text)


def _range(key: str, sign: str, value: str) -> tuple[float, float]:
    """The least and the greatest number that are meant."""
    first, dots, last = value.partition("..")
    if dots and sign in ":=":
        return (_number(key, first) if first else -np.inf, _number(key, last) if last else np.inf)
    number = _number(key, value)
    below, above = np.nextafter(number, -np.inf), np.nextafter(number, np.inf)
    return {
        ">": (above, np.inf), ">=": (number, np.inf), "<": (-np.inf, below),
        "<=": (-np.inf, number),
    }.get(sign, (number, number))  # fmt: skip


def _number(key: str, text: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise _wrong(f"{text} is not a number", _example(key))
    return float(re.sub("[_,]", "", match[1])) * (1000 if match[2] else 1)


def _example(key: str) -> str:
    if key in NUMBERS:
        return f"such as {key}>100 or {key}:100..200"
    return f"such as {key}:kept" if key == "is" else f"such as {key}:word"


def _unknown(key: str, sign: str) -> InputError:
    known = [*NUMBERS, *WORDS, *SIDES]
    if key in known:
        return _wrong(f"{key} is no number", f"such as {key}:word")
    near = get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    field = f"a field of the row is asked with a dot: .{key}:"
    return _wrong(f"{key}{sign} is not known", hint, field, 'quotes look for text: "a:b"')


def _wrong(message: str, *remedies: str) -> InputError:
    return InputError(message, kind="bad_filter", remedies=remedies)


def texts_of(row: Row | Rejected) -> Iterator[str]:
    """All texts of a row; of one that could not be read, its beginning as it stands."""
    if isinstance(row, Rejected):
        yield row.raw
    else:
        yield from _leaves(row.value)


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _leaves(part)
    elif value is not None:
        yield str(value)


def field_of(row: Row | Rejected, path: str) -> str | None:
    """A field of a row as text, `a.b` for one inside of another; None where there is none."""
    value: object = None if isinstance(row, Rejected) else row.value
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if value is None else "\n".join(_leaves(value))


def suggest(line: str, known: Mapping[str, Sequence[tuple[str, str]]]) -> list[tuple[str, str]]:
    """What the last word of a line may become: each as the whole line, with its meaning.

    ``known`` holds values and their meaning for keys such as ``reason``, and for ``.``: fields.
    """
    open_word = line and not line[-1].isspace()
    start = len(line) - len(pieces(line)[-1]) if open_word else len(line)
    word = line[start:]
    sign = word[:1] if word[:1] in ("-", "!") else ""
    key, colon, value = word[len(sign) :].partition(":")
    head = line[:start] + sign
    if colon:
        done, comma, last = value.rpartition(",")
        stem = f"{head}{key}:{done}{comma}"
        values = [(v, m) for v, m in known.get(key, ()) if last.lower() in v.lower()]
        return [(f"{stem}{_quoted(v)} ", meaning) for v, meaning in values if v != value]
    keys = [(f"{name}>", about) for name, about in NUMBERS.items()]
    keys += [(f"{name}:", about) for name, about in (*WORDS.items(), *SIDES.items())]
    keys += [(f".{name}:", about) for name, about in known.get(".", ())]
    return [(head + name, about) for name, about in keys if name.startswith(key)]


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r'[\s"]', text) else text
