"""Which encoding of one byte a letter the words of a text speak for.

The plain letters of a text tell its language; the bytes beyond ASCII must then be the letters of
that language. Polish in Windows-1250 can be read as Windows-1252 as well, but as no Polish.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

_WESTERN = {
    "en": "éèêïçñöü", "de": "äöüß", "fr": "àâæçéèêëîïôœùûüÿ", "es": "áéíñóúü",
    "pt": "ãáàâçéêíóôõúü", "it": "àèéìíîòóù", "da": "æøåé", "no": "æøåéòôó", "nn": "æøåéòô",
    "sv": "åäöé", "fi": "äöåšž", "is": "áðéíóúýþæö", "fo": "áðíóúýæø", "nl": "ëïéèöüêáíó",
    "ca": "àçèéíïòóúü", "gl": "áéíóúñüï", "ga": "áéíóú", "gd": "àèìòùé", "eu": "ñüç",
    "et": "äõöüšž", "af": "ëêïôûéèö", "oc": "àáçèéíïòóúü", "lb": "äëéèêôöü", "cy": "âêîôûëïöáéŵŷ",
    "sq": "ëç", "br": "ñùêâü", "id": "éèñ", "tl": "éèñ", "sw": "éèñ",
}  # fmt: skip
_CENTRAL = {
    "pl": "ąćęłńóśźż", "cs": "áčďéěíňóřšťúůýž", "sk": "áäčďéíĺľňóôŕšťúýž", "hu": "áéíóöőúüű",
    "ro": "ăâîşţ", "hr": "čćđšž", "bs": "čćđšž", "sr": "čćđšž", "sl": "čšž",
}  # fmt: skip
_TURKISH = {"tr": "çğıöşüâîû"}
_BALTIC = {"lt": "ąčęėįšųūž", "lv": "āčēģīķļņšūž"}
_VIETNAMESE = {"vi": "ăâđêôơư\u0300\u0301\u0303\u0309\u0323àáãèéìíòóõùúý"}

_ALPHABETS = {**_WESTERN, **_CENTRAL, **_TURKISH, **_BALTIC, **_VIETNAMESE}
"""The letters beyond ASCII of each language."""
_ANY = "".join(sorted(set("".join(_WESTERN.values()))))
"""Where too little is there to tell which Western language it is."""
_ENCODINGS = (
    "cp1252", "cp1250", "iso8859_2", "cp1254", "mac_roman", "cp1257", "cp850", "cp1258",
)  # fmt: skip
"""Of equally good ones the first is taken."""

_HIGH = re.compile(rb"[\x80-\xff]")
_PART = re.compile(rb'[^"\n\r\t]+')
"""What may be one sentence: names of fields stand in quotes of their own."""
_ESCAPE = re.compile(r"\\[nrtbf]")
_BEFORE, _BEHIND = 100, 150
"""Bytes around the first high one of a sentence that are looked at."""
_MOST = 120
"""Sentences that are looked at, spread over all of them."""
_FEW_LETTERS, _FEWEST_LETTERS = 25, 10
"""Fewer plain letters than the first tell little of a language: all sentences together then do."""

_QUOTES = "‘’‚“”„‹›«»"
_MARKS = frozenset(_QUOTES + "–—…•·¿¡€£¥¢§°©®™²³¹µ½¼¾×÷±ªº†‰\xa0")
_JOINTS = frozenset("’·\xad")
"""Marks that stand inside of words."""
_OPENING, _CLOSING = frozenset("¿¡©"), frozenset("®™²³¹½¼¾£¥¢")
"""Marks that do not stand behind a letter, and before one."""
_WEST, _OTHER = 0.5, 0.3
"""What a letter counts that is none of the language: names and foreign words have some."""
_GOOD, _GAIN, _NEAR = 0.85, 1.5, 0.4
"""Another encoding is the likely one when so large a part of its letters fit, and so many more
letters than in Windows-1252; a possible one when it is a few less."""
_SURE, _POOR = 0.8, 0.45
"""Below the first a text is in doubt, below the second it makes no words in Windows-1252."""
_EXAMPLE = 60


@dataclass(frozen=True)
class Judgement:
    """What the words of a text that is not UTF-8 speak for."""

    likely: str
    """The encoding, as Python names it; empty where the bytes make no words in any."""
    doubt: bool = False
    """It may as well be another one."""
    odd: bytes = b""
    """The sentence that is fit for Windows-1252 least."""


def judge(samples: Sequence[bytes]) -> Judgement:
    """Which encoding pieces of a text are in, where Windows-1252 is possible at all."""
    parts = list(dict.fromkeys(_parts(samples)))
    parts = parts[:: max(1, len(parts) // _MOST)]
    whole = _alphabet(b" ".join(parts), _ANY, _FEWEST_LETTERS)
    whole = _ANY if whole in _WESTERN.values() else whole
    fits, total, odd = dict.fromkeys(_ENCODINGS, 0.0), 0, (2.0, b"")
    for part in parts:
        own, count = _alphabet(part, whole), len(_HIGH.findall(part))
        found = {encoding: _fit(part, encoding, own) for encoding in _ENCODINGS}
        for encoding in _ENCODINGS:
            fits[encoding] += found[encoding]
        total += count
        odd = min(odd, (found["cp1252"] / count, part))
    best = max(_ENCODINGS, key=lambda encoding: fits[encoding])
    gain, fit = fits[best] - fits["cp1252"], fits["cp1252"] / max(1, total)
    if gain >= _GAIN and fits[best] >= _GOOD * total:
        return Judgement(best)
    return Judgement("" if fit < _POOR else "cp1252", gain >= _NEAR or fit < _SURE, odd[1])


def example(raw: bytes, encoding: str, odd: bytes = b"") -> tuple[int, str]:
    """Some words beyond ASCII: their line, from 1, and how they read in an encoding.

    Those of the sentence ``odd`` where it is given and there, else the first ones.
    """
    first = _HIGH.search(raw, max(0, raw.find(odd)))
    if first is None:
        return 1, ""
    line = raw.count(b"\n", 0, first.start()) + 1
    part = next(p for p in _PART.finditer(raw) if p.start() <= first.start() < p.end())
    start = max(part.start(), first.start() - _EXAMPLE // 2)
    words = raw[start : min(part.end(), start + _EXAMPLE)].decode(encoding, "replace")
    return line, _ESCAPE.sub(" ", words).strip()


def _parts(samples: Sequence[bytes]) -> Iterator[bytes]:
    """The sentences with bytes beyond ASCII, as far as they are looked at."""
    for sample in samples:
        if sample.isascii():
            continue
        for match in _PART.finditer(sample):
            first = None if match.group().isascii() else _HIGH.search(match.group())
            if first is not None:
                start = max(0, first.start() - _BEFORE)
                yield match.group()[start : first.start() + _BEHIND]


def _alphabet(part: bytes, otherwise: str, least: int = _FEW_LETTERS) -> str:
    """The letters of a text's language, by its plain ones; ``otherwise`` where they are few."""
    plain = _ESCAPE.sub(" ", _HIGH.sub(b"?", part).decode("ascii"))
    if sum(map(str.isalpha, plain)) < least:
        return otherwise
    return _ALPHABETS[_identifier().classify(plain)[0]]


def _fit(part: bytes, encoding: str, own: str) -> float:
    """How many bytes beyond ASCII are fit for their words."""
    text = part.decode(encoding, "replace")
    return sum(
        _fitness(char, text[place - 1 : place], text[place + 1 : place + 2], own)
        for place, char in enumerate(text)
        if char > "\x7f"
    )


def _fitness(char: str, before: str, behind: str, own: str) -> float:
    """How well one sign fits between its neighbours: 0 to 1."""
    if char in own:
        return 1
    if char in _MARKS:
        if before.isalpha() and behind.isalpha():
            return 0.5 if char in "–—" else float(char in _JOINTS)
        wrong = (before.isalpha() and char in _OPENING) or (behind.isalpha() and char in _CLOSING)
        return float(not wrong)
    if not char.isalpha():
        return 0
    if char.isupper() and before.islower():
        return 0
    return 1 if char.lower() in own else _WEST if char.lower() in _ANY else _OTHER


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(_ALPHABETS))
    return identifier
