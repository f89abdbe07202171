"""Which format a row's field names speak of, and what to say where they speak of none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.config.counted import counted
from core.data.chats.chat import Format
from core.data.chats.columns import ANSWERS, LABELS, PREFERENCES, PROMPTS, TEXTS, TURNS, first_of

FORMATS: tuple[Format, ...] = ("alpaca", "sharegpt", "messages", "prompt_completion", "text")
Shape = Format | Literal["preference", "labelled", "turn"]
"""What a row looks like: a format, something that another kind of training learns from, or a
single turn of a chat."""

_LONG_NAME, _MANY_WORDS = 40, 4
"""The name of a field hardly has so many characters or spaces."""
_TURN = (("role", "content"), ("from", "value"))
_TELLING = frozenset((*TURNS, *(better for better, _ in PREFERENCES)))


@dataclass(frozen=True)
class Detected:
    """What a sample of rows looks like. ``format`` is None when most of it is like nothing."""

    format: Format | None
    confidence: float
    """Part of the sample that has this format, 0 to 1."""
    counts: Mapping[str, int]
    fields: tuple[str, ...] = ()
    """The most frequent fields of the sample."""

    @property
    def words(self) -> str:
        """What was seen and how sure it is, in a sentence."""
        total = sum(self.counts.values())
        if not total:
            return "no row to look at"
        rest = ", ".join(f"{n} {name}" for name, n in self.counts.items() if name != self.format)
        saw = f"fields {', '.join(self.fields[:6])}" if self.fields else "no fields"
        if self.format is None:
            return f"no known format ({saw}): {rest}; name the fields with data.columns"
        sure = f"{self.counts[self.format]:,} of {counted(total, 'row')}"
        return f"{self.format}: {sure} ({saw})" + (f"; the others: {rest}" if rest else "")


def shape_of(row: Mapping[str, Any]) -> Shape | None:
    """Which format a row's field names speak of; None when they speak of none.

    A field that is null counts as absent, as tables have a column for each field of any row; only
    where nothing else tells does its name speak.
    """
    if None in row.values():
        full = {key: value for key, value in row.items() if value is not None}
        return _shape_of_names(full) or _shape_of_names(row)
    return _shape_of_names(row)


def _shape_of_names(row: Mapping[str, Any]) -> Shape | None:
    if not _TELLING.isdisjoint(row):
        if any(better in row and worse in row for better, worse in PREFERENCES):
            return "preference"
        for key in TURNS:
            if key in row:
                return (not row[key] and _other_shape(row)) or _shape_of_turns(key, row[key])
    if "instruction" in row:
        return "alpaca"
    prompt = first_of(row, PROMPTS)
    if prompt is not None and (prompt != "input" or first_of(row, ANSWERS)):
        judged = any(isinstance(row.get(key), bool) for key in LABELS)
        return "labelled" if judged else "prompt_completion"
    if "text" not in row and any(who in row and said in row for who, said in _TURN):
        return "turn"
    return "text" if first_of(row, TEXTS) else None


def _other_shape(row: Mapping[str, Any]) -> Shape | None:
    """The format of a row whose list of turns is empty, by its other fields."""
    return _shape_of_names({key: value for key, value in row.items() if key not in TURNS})


def _shape_of_turns(key: str, value: object) -> Format:
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, dict) and first.get("from") is not None:
        return "sharegpt"
    if isinstance(first, dict) and first.get("role") is not None:
        return "messages"
    return "messages" if key == "messages" else "sharegpt"


def detect(rows: Iterable[Mapping[str, Any]]) -> Detected:
    """The format that most of the given rows have."""
    counts: Counter[str] = Counter()
    fields: Counter[str] = Counter()
    for row in rows:
        counts[shape_of(row) or "unknown"] += 1
        fields.update(str(key)[:40] for key in row)
    if not counts:
        return Detected(None, 0.0, {})
    name, votes = counts.most_common(1)[0]
    found = next((known for known in FORMATS if known == name), None)
    names = tuple(field for field, _ in fields.most_common(12))
    return Detected(found, votes / counts.total(), dict(counts), names)


def advice_on(row: Mapping[str, Any]) -> str:
    """What to do about fields that nobody knows."""
    spelled = _spelled_otherwise(row)
    if spelled:
        return f"they are known in lower case: --data.columns {spelled}"
    mapping = "map them by their names, as in --data.columns prompt=Frage,completion=Antwort"
    if any(_is_sentence(str(key)) for key in row):
        return (
            "they look like a row, not like names: if this is a table without a header, write one "
            f"as its first line, such as instruction,output; else {mapping}"
        )
    return mapping


def _spelled_otherwise(row: Mapping[str, Any]) -> str:
    """The mapping for names that are those of a format but for their case; else empty."""
    names = {str(key).lower(): str(key) for key in row}
    found = shape_of(dict.fromkeys(names, ""))
    asked, answer = first_of(names, PROMPTS), first_of(names, ANSWERS)
    turns, text = first_of(names, TURNS), first_of(names, TEXTS)
    pairs = {
        "alpaca": (("instruction", "instruction"), ("output", answer)),
        "prompt_completion": (("prompt", asked), ("completion", answer)),
        "messages": (("messages", turns),),
        "sharegpt": (("conversations", turns),),
        "text": (("text", text),),
    }.get(str(found), ())
    theirs = [names[name] for _, name in pairs if name is not None]
    if len(theirs) < len(pairs) or any(set(name) & set(", =") for name in theirs):
        return ""
    return ",".join(f"{ours}={name}" for (ours, _), name in zip(pairs, theirs, strict=True))


def _is_sentence(name: str) -> bool:
    return len(name) > _LONG_NAME or name.count(" ") >= _MANY_WORDS or name[-1:] in ".?!"
