"""Secrets in text: keys and tokens by the shapes their makers give them, and what is called one."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from core.data.clean.personal import Found

_RUN = re.compile(rb"[A-Za-z0-9_+/\-]{16,}")
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{60,255}|glpat-[\w\-]{20,}"
    r"|sk-(?:ant-|proj-|svcacct-|admin-|or-v1-)?[\w\-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|xox[abeoprs]-[A-Za-z0-9\-]{10,}"
    r"|AIza[\w\-]{35}(?![\w\-])|GOCSPX-[\w\-]{20,}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{24,}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[\w\-]{50,}|dop_v1_[a-f0-9]{64}"
    r")"
)
_DOTTED = re.compile(
    r"eyJ[\w\-]{8,2000}\.eyJ[\w\-]{8,4000}\.[\w\-]{8,2000}"
    r"|SG\.[\w\-]{16,100}\.[\w\-]{16,100}|ya29\.[\w\-]{20,500}"
)
_BLOCK = re.compile(
    r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----BEGIN).){40,20000}?-----END (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    re.DOTALL,
)
_IN_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.\-]{1,20}://[^\s:/@]{1,64}:(?P<value>[^\s:/@{}<>$\[\]]{6,80})@"
)
_CALLED_SO = re.compile(
    r"(?:api[_\-]?key|secret|token|passw(?:or)?d|passphrase|pwd|credential|(?:private|access|auth|"
    r"encryption|signing|master|client)[_\- ]?key)(?P<rest>[\w\-]{0,24})[\"'`]?"
    r"\s{0,3}(?::=|=>|[:=])\s{0,3}[\"'`]?(?:bearer |basic )?\Z|\bbearer \Z",
    re.IGNORECASE,
)
_CALLS = ("key", "secret", "token", "pass", "pwd", "credential", "bearer")
SIGNS = (
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "hf_",
    "xox", "AIza", "GOCSPX-", "k_live_", "k_test_", "whsec_", "npm_", "pypi-", "dop_v1_", "eyJ",
    "SG.", "ya29.",
)  # fmt: skip
"""What all of the shapes begin with one of, and are known by where they have no digits."""
_TWO_DIGITS = re.compile(r"\d\D*\d")
_NOT_THE_THING = re.compile(
    r"(?:id|name|type|class|config|url|uri|path|file|hash|count|size|limit)s?\Z", re.I
)
_STAND_IN = re.compile(
    r"example|your|placeholder|change_?me|redacted|dummy|insert|sample|xxx|\*\*\*|abcdef|123456789",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BITS = 3.3
"""Entropy of a value that is called a secret, in bits a character; words have less."""
_LETTERS, _CHANGES, _CAPITALS = 20, 0.3, 0.29
"""Length of a key without digits, the share of its signs at which the case changes, and of
capitals and small letters; of words that are written together both are less."""


def secrets(text: str) -> Iterator[Found]:
    """Keys, tokens, private keys and passwords in addresses; not what only stands in for one."""
    for hit in _BLOCK.finditer(text) if "PRIVATE KEY" in text else ():
        yield Found("secret", hit.start(), hit.end())
    for hit in _IN_ADDRESS.finditer(text) if "://" in text and "@" in text else ():
        if not _STAND_IN.search(hit["value"]) and hit["value"].lower() not in _WORDS:
            yield Found("secret", hit.start("value"), hit.end("value"))
    lowered = text.lower()
    if not any(sign in text for sign in SIGNS) and not any(word in lowered for word in _CALLS):
        return
    # One byte a character, so that places in the bytes are places in the text.
    for run in _RUN.finditer(text.encode("ascii", "replace")):
        yield from _in_run(text, run.start(), run.end())


_WORDS = frozenset(("password", "passwort", "secret", "passwd"))


def _in_run(text: str, start: int, end: int) -> Iterator[Found]:
    digits = _TWO_DIGITS.search(text, start, end) is not None
    if not digits and not text.startswith(SIGNS, start):
        return  # a name or a word; what is random mostly has digits
    places = [place for place in (start, start - 3, start - 5) if place >= 0]
    dotted = next(filter(None, (_DOTTED.match(text, place) for place in places)), None)
    shape = dotted or _SHAPES.search(text, start, end)
    if shape is not None:
        value = shape.group()
        random = digits or value.startswith("eyJ") or _letters_look_random(value)
        if random and not _STAND_IN.search(value) and _entropy(value) > _BITS - 0.3:
            yield Found("secret", shape.start(), shape.end())
        return
    if not digits:
        return
    before = text[max(0, start - 60) : start]
    lowered = before.lower()
    if not any(word in lowered for word in _CALLS):
        return
    called = _CALLED_SO.search(before)
    if called is None or _NOT_THE_THING.search(called["rest"] or ""):
        return
    if text[end : end + 1] not in ("(", "[", ".") and _looks_random(text[start:end]):
        yield Found("secret", start, end)


def _looks_random(value: str) -> bool:
    if value.isdigit() or _STAND_IN.search(value) or _UUID.fullmatch(value):
        return False
    return _entropy(value) >= _BITS


def _letters_look_random(value: str) -> bool:
    """Whether the last part of a key changes between capitals and small letters as no name does:
    one in twelve of 24 random signs has less than two digits."""
    letters = re.split(r"[_\-]", value)[-1]
    if len(letters) < _LETTERS:
        return False
    changes = sum(a.isupper() != b.isupper() for a, b in pairwise(letters))
    capitals = sum(map(str.isupper, letters)) / len(letters)
    return bool(changes > _CHANGES * len(letters)) and _CAPITALS < capitals < 1 - _CAPITALS


def _entropy(value: str) -> float:
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
