"""How varied rows are, from a sample of them: languages, word groups, beginnings of prompts.

Simple counts, meant to show sets that say one thing in one way. The sample is the rows with the
smallest hashes, the same whatever order or format the rows came in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.data.blocks import Sample
from core.data.clean import language

LANGUAGE_ROWS = 300
"""Rows whose language is looked for: each costs a tenth of a millisecond and more."""
OPENING_WORDS = 3
"""Prompts that share so many first words are counted as one beginning."""
TOP = 10

_WORD = re.compile(r"\w+")


def variety_of(sample: Sequence[Sample]) -> dict[str, Any]:
    """What the sample shows, in plain values; shares and ratios from 0 to 1."""
    openings = Counter(opening(row.prompt) for row in sample)
    languages = Counter(language.of(row.answer) or "unsure" for row in sample[:LANGUAGE_ROWS])
    return {
        "sampled": len(sample),
        "distinct_word_groups": {
            str(size): distinct_ratio([row.answer for row in sample], size) for size in (1, 2, 3)
        },
        "beginnings": {
            "words": OPENING_WORDS,
            "distinct": len(openings),
            "top": dict(openings.most_common(TOP)),
        },
        "languages": {
            "sampled": min(len(sample), LANGUAGE_ROWS),
            "counts": dict(languages.most_common(TOP)),
        },
    }


def opening(prompt: str) -> str:
    """The first words of a prompt, by which it is put together with others."""
    return " ".join(_WORD.findall(prompt.lower())[:OPENING_WORDS])


def distinct_ratio(texts: Sequence[str], size: int) -> float | None:
    """How many different groups of ``size`` words there are, for each group; None without any.

    It falls as more text is looked at: compare samples of the same size only.
    """
    seen, total = set[tuple[str, ...]](), 0
    for text in texts:
        words = _WORD.findall(text.lower())
        groups = list(zip(*(words[start:] for start in range(size)), strict=False))
        seen.update(groups)
        total += len(groups)
    return round(len(seen) / total, 4) if total else None
