"""In which language a text is, where that is sure."""

from __future__ import annotations

from functools import cache
from typing import Any

from core.config.errors import InputError
from core.data.clean.fences import without_code

_LETTERS = 20
"""Fewer letters than this tell no language."""
_SURE = 0.9
"""Below this py3langid is guessing: short answers, names, lists of numbers."""
_SAMPLE = 1000
"""Characters looked at; more change nothing and cost 150 microseconds a thousand."""


def of(text: str) -> str | None:
    """The text's language as its code, ``en`` or ``de``; None where it cannot be told surely."""
    prose = without_code(text)[:_SAMPLE]
    if sum(map(str.isalpha, prose)) < _LETTERS:
        return None
    code, confidence = _identifier().classify(prose)
    return str(code) if confidence >= _SURE and code != "zxx" else None


def check(codes: list[str]) -> None:
    """Refuse codes that no text can ever be found to have. Raises InputError."""
    known = _identifier().labels if codes else ()
    for code in codes:
        if code not in known:
            raise InputError(
                f"clean.languages: {code!r} is no language that can be told",
                kind="bad_value",
                remedies=("known: " + ", ".join(sorted(known)),),
            )


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
