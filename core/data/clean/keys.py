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
_SET = r"\s{0,3}(?::=|=>|[:=])[*_]{0,2}\s{0,3}|(?P<said>\s{1,3}(?:is|was|ist)\s{0,2}:?\s{1,3})"
_CALLED_SO = re.compile(
    r"(?:api[_\- ]?key|secret|token|passw(?:or[dt]|d)|passphrase|pwd|credential|(?:private|access|"
    r"auth|encryption|signing|master|client)[_\- ]?key)(?P<rest>[\w\-]{0,24})[\"'`]?"
    rf"(?:{_SET})[\"'`]?(?:bearer |basic )?\Z|\bbearer \Z",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    rf"(?:passw(?:or[dt]|d)|passphrase|pwd)(?P<rest>[\w\-]{{0,24}})[\"'`]?(?:{_SET})[\"'`]?\Z",
    re.IGNORECASE,
)
_PASSWORD_RUN = re.compile(r"[A-Za-z0-9_+/\-!#$%&*?@^~]{16,}")
_PUNCTUATED = re.compile(r"[A-Za-z0-9_+/\-][!#$%&*?@^~][A-Za-z0-9_+/\-]")
_REFERENCE = re.compile(r"\$\w+\$|\$[A-Za-z_]\w*\Z|%\w+%\Z|.*://")
"""A hash, a variable's name, an address: what stands for a password or looks like one."""
PASSWORD_CALLS = ("passw", "passphrase", "pwd")
MOST_OF_A_PASSWORD = 128
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
_SAID_CHANGES, _SAID_DIGITS = 0.42, 0.2
"""For a value that a sentence calls a secret: the share of its signs at which their kind changes,
and of digits."""
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
    if any(word in lowered for word in PASSWORD_CALLS):
        yield from _passwords(text)
    # One byte a character, so that places in the bytes are places in the text.
    for run in _RUN.finditer(text.encode("ascii", "replace")):
        yield from _in_run(text, run.start(), run.end())


def _passwords(text: str) -> Iterator[Found]:
    """Random values with signs such as ``$`` or ``!`` in them, which no key has."""
    for run in _PASSWORD_RUN.finditer(text):
        start, value = run.start(), run.group()
        called = _PASSWORD.search(text, max(0, start - _CALLED_WITHIN), start)
        if called is None or _NOT_THE_THING.search(called["rest"]):
            continue
        after = text[run.end() : run.end() + 2]
        if after[:1] == "=":  # the next parameter of an address
            value = value.rpartition("&")[0]
        address = "@" in value and after[:1] == "." and after[1:].isalpha()
        if (after[:1] and after[0] in "([{") or address or not _is_password(value):
            continue
        yield Found("secret", start, start + len(value))


def _is_password(value: str) -> bool:
    if not 16 <= len(value) <= MOST_OF_A_PASSWORD or not _PUNCTUATED.search(value):
        return False
    digits = any(map(str.isdigit, value))
    letters = any(map(str.isupper, value)) + any(map(str.islower, value))
    return digits and letters > 0 and not _REFERENCE.match(value) and _looks_random(value)


_CALLED_WITHIN = 60
"""Characters before a value in which it is called a secret."""
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
    before = text[max(0, start - _CALLED_WITHIN) : start]
    lowered = before.lower()
    if not any(word in lowered for word in _CALLS):
        return
    called = _CALLED_SO.search(before)
    if called is None or _NOT_THE_THING.search(called["rest"] or ""):
        return
    value, said = text[start:end], called["said"] is not None
    if text[end : end + 1] in ("(", "[") or (text[end : end + 1] == "." and not said):
        return
    if _looks_random(value) and (not said or _is_no_name(value)):
        yield Found("secret", start, end)


def _looks_random(value: str) -> bool:
    if value.isdigit() or _STAND_IN.search(value) or _UUID.fullmatch(value):
        return False
    return _entropy(value) >= _BITS


def _is_no_name(value: str) -> bool:
    """Whether capitals, small letters and digits change as in no name that a sentence may go on
    with behind "is"; without capitals, whether many digits are among the letters."""
    if value.isalnum() and value == value.lower():
        return sum(map(str.isdigit, value)) > _SAID_DIGITS * len(value)
    kinds = [(sign.isdigit(), sign.isupper()) for sign in value]
    return sum(a != b for a, b in pairwise(kinds)) > _SAID_CHANGES * len(value)


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
