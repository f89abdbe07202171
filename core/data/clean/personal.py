"""Personal data in text: e-mail addresses, phone numbers, payment cards, IBANs, IP addresses.

What has a checksum or a plan of numbers is checked by it, so that order numbers, versions and
dates are not taken for it. Addresses that are set aside for examples do not count.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple


class Found(NamedTuple):
    """A place in a text, and what stands there."""

    kind: str
    start: int
    end: int


_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NUMERALS = frozenset(b"0123456789")
BETWEEN = frozenset(b" -()/\t")
"""What may stand between the digits of one number."""
SHAPE = bytes(
    48 if byte in _NUMERALS else 97 if byte in _LETTERS else 45 if byte in BETWEEN else byte
    for byte in range(256)
)
"""For ``translate``: a digit is ``0``, a letter ``a`` and what may stand between digits ``-``."""
_PUNCTUATION = frozenset(b"!#$%&*?@^~")
LONG = bytes(
    97 if {byte} & (_LETTERS | _NUMERALS | {43, 45, 47}) else 98 if byte in _PUNCTUATION else 32
    for byte in range(256)
)
"""For ``translate``: what a key is written in becomes ``a``, what a password has besides ``b``, all
else a space."""
LONG_RUN = b"a" * 16
"""The shortest key, translated so."""

_LOCAL = re.compile(r"[\w.+%'-]{1,64}\Z")
_DOMAIN = re.compile(
    r"(?:[\w-]{1,63}\.)*?(?P<name>[\w-]{1,63})\.(?P<top>[A-Za-z]{2,24})(?![\w-]|\.\w)"
)
_SHORT_TOP = re.compile("[a-z]{2}|app|com|dev|info|net|org|xyz")
"""Where a domain has a name of one letter: matrices are multiplied with the same sign."""
_LONG_TOP = re.compile(
    "academy|agency|business|capital|company|consulting|digital|engineering|finance|foundation|"
    "industries|institute|insurance|international|marketing|network|partners|photography|"
    "properties|services|shopping|software|solutions|systems|technology|training|ventures"
)
_FILE = re.compile("css|csv|gif|html|jpeg|jpg|js|json|md|pdf|png|py|svg|ts|txt|webp|xml|yml")
_RESERVED = re.compile(
    r"(?:^|\.)(?:example\.(?:com|net|org|edu)|(?:example|invalid|local|localhost|test))$", re.I
)


def emails(text: str) -> Iterator[Found]:
    """E-mail addresses; not those of example domains, nor file names and remotes with an @."""
    at = text.find("@")
    while at >= 0:
        local, domain = _LOCAL.search(text, max(0, at - 64), at), _DOMAIN.match(text, at + 1)
        if local and domain and _is_address(local.group(), domain, text):
            start = local.end() - len(local.group().lstrip(".'%-"))
            if start < at:
                yield Found("email", start, domain.end())
        at = text.find("@", at + 1)


def _is_address(local: str, domain: re.Match[str], text: str) -> bool:
    top = domain["top"].lower()
    if _FILE.fullmatch(top) or _RESERVED.search(domain.group()):
        return False
    after = text[domain.end() : domain.end() + 1]
    remote = local == "git" and after == ":"
    if len(domain["name"]) == 1 and not (
        domain["name"].isalpha()
        and _SHORT_TOP.fullmatch(top)
        and (domain["top"].islower() or domain["top"].isupper())
        and (not after or after not in "([=")
    ):
        return False
    return not remote and (len(top) <= 6 or _LONG_TOP.fullmatch(top) is not None)


# The searches begin with a sign or digit and look at what stands before a hit afterwards: a
# pattern that begins with a look behind costs ten times as much.
_INTERNATIONAL = re.compile(
    r"(?:\+[1-9](?:[ ().\-/]{0,3}\d){6,14}|00[1-9](?:[ ()\-/]{0,3}\d){6,14})(?![\w]|[.\-/]\d)"
)
_AMERICAN = re.compile(
    r"[(2-9](?:(?<=\()[2-9]\d\d\) ?\d{3}[.\- ]|\d\d(?P<sign>[.\-])\d{3}(?P=sign)|\d\d \d{3}-)\d{4}"
    r"(?![\w]|[.\-/]\d)"
)
_NUMBER = re.compile(r"[(\d]\d?(?:[ ().\-/]{0,3}\d){5,13}(?![\w]|[.\-/]\d)")
_SPOKEN_OF = re.compile(
    r"(?:\b(?:t[eé]l[eé]?(?:fone?|phone|f[oó]no)?|phone|portable|mobile?|mobil|handy|"
    r"cell(?:ular)?|fax|whatsapp|call|dial|ring|text me(?: (?:at|on))?|"
    r"reach (?:me|us)(?: (?:at|on))?|celular|anruf\w*|"
    r"(?:my|our|meine|unsere|mon|mi|meu|il mio) (?:number|nummer|numéro|número|numero))\b|☎|📞)"
    r"[^\w\n]{0,4}(?:(?:no|nr|number|nummer|at|on|is|unter|me|us)\b[^\w\n]{0,3}){0,3}\Z",
    re.IGNORECASE,
)
_CALLS = ("tel", "tél", "phone", "portable", "mobil", "handy", "cell", "fax", "whatsapp", "call",
          "dial", "ring", "text me", "reach", "celular", "anruf", "num", "núm",
          "☎", "📞")  # fmt: skip
_REGIONS = ("US", "GB", "DE", "FR", "IT", "ES", "NL", "CH", "AT", "BE", "IN", "BR", "AU", "JP",
            "CN", "MX", "PL", "SE")  # fmt: skip
"""Where a number without its country's code is tried, when the text calls it a phone number."""


_CALL = re.compile("|".join(map(re.escape, _CALLS)))
_REACH = 50
"""Characters behind the beginning of such a word in which its number begins, and some more."""
_WIDEST = 64
"""No number is as long as this."""
_AMERICAN_SHAPE = re.compile(rb"000(?:\.000\.|--?000[-.])0000")
"""What ``_AMERICAN`` finds in ASCII, as ``SHAPE`` shows it; the same for those below."""

_SPACES, _HYPHENS = "\u00a0\u2007\u2009\u202f", "\u2010\u2011\u2012\u2013\u2212"
SIGNS_BETWEEN = frozenset("".join([_SPACES, _HYPHENS]).encode())
"""The bytes of such typographic signs as may stand between the digits of one number."""

_PATIENCE = 300
"""Numbers of a text that may turn out to be none, at up to a millisecond each; then no more are
tried: such a text is a table of something else."""


def typed(text: str) -> str:
    """The text with its typographic spaces and hyphens as they are typed; no place moves."""
    if not text.isascii():
        for sign in _SPACES:
            text = text.replace(sign, " ")
        for sign in _HYPHENS:
            text = text.replace(sign, "-")
    return text


def phones(text: str) -> Iterator[Found]:
    """Phone numbers that can be dialled: international, American, or called so by the text."""
    patience, text = _PATIENCE, typed(text)
    for hit, number, regions in _candidates(text):
        if _can_be_dialled(number, regions):
            yield Found("phone", hit.start(), hit.end())
        else:
            patience -= 1
            if patience < 0:
                return


def _candidates(text: str) -> Iterator[tuple[re.Match[str], str, tuple[str | None, ...]]]:
    for hit in _apart(_INTERNATIONAL, text, "+.") if "+" in text or "00" in text else ():
        number = hit.group()
        yield hit, number if number.startswith("+") else "+" + number[2:], (None,)
    for hit in _apart(_AMERICAN, text, ".+-/(") if not _shows_none(_AMERICAN_SHAPE, text) else ():
        yield hit, hit.group(), ("US",)
    for hit in _spoken_of(text):
        if _stands_apart(hit, ".+-/") and _is_spoken_of(text, hit.start()):
            yield hit, hit.group(), _REGIONS


def _shows_none(shape: re.Pattern[bytes], text: str) -> bool:
    """Whether a text in ASCII has no place of such a shape."""
    return text.isascii() and shape.search(text.encode().translate(SHAPE)) is None


def _spoken_of(text: str) -> Iterator[re.Match[str]]:
    """The numbers behind a word that may call them one, among others: not all of a long table."""
    lowered = text.lower()
    if not any(word in lowered for word in _CALLS):
        return
    if len(lowered) != len(text):  # places in one are none in the other
        yield from _NUMBER.finditer(text)
        return
    start = 0
    for word in _CALL.finditer(lowered):
        # No number reaches over the word's first letter: what is found from there on is found.
        start, last = max(start, word.start()), word.start() + _REACH
        while (hit := _NUMBER.search(text, start, last + _WIDEST)) and hit.start() <= last:
            yield hit
            start = hit.end()


def _is_spoken_of(text: str, start: int) -> bool:
    before = text[max(0, start - 40) : start]
    lowered = before.lower()
    return any(word in lowered for word in _CALLS) and _SPOKEN_OF.search(before) is not None


def _apart(pattern: re.Pattern[str], text: str, but: str = "") -> Iterator[re.Match[str]]:
    """The places of a pattern that begin no letters, digits or the given signs go before."""
    for hit in pattern.finditer(text):
        if _stands_apart(hit, but):
            yield hit


def _stands_apart(hit: re.Match[str], but: str) -> bool:
    start = hit.start()
    before = hit.string[start - 1 : start]
    return not (before.isalnum() or before == "_" or (before and before in but))


@lru_cache(maxsize=4096)
def _can_be_dialled(number: str, regions: tuple[str | None, ...]) -> bool:
    import phonenumbers

    for region in regions:
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed):
            return True
    return False


_CARD = re.compile(
    r"(?<![\w.\-])"  # not in the midst of a number: the card behind it would be passed over
    r"(?:\d{4}(?P<a>[ \-])\d{4}(?P=a)\d{4}(?P=a)\d{4}"
    r"|\d{4}(?P<b>[ \-])\d{6}(?P=b)\d{4,5}"
    r"|\d{13,19})(?![\w]|[.\-]\d)"
)
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"
    r"|(?:6011|65\d\d|64[4-9]\d)\d{12}|35\d{14}|62\d{14}"
)


_CARD_SHAPE = re.compile(rb"0000000000000|0000-0000(?:00-0000|-0000-0000)")
_CARD_PLACES = re.compile(r"\d[\d \-]{12,}")
"""Where cards are: all of any one is in one of these."""


def cards(text: str) -> Iterator[Found]:
    """Payment cards: an issuer's first digits, its length, its grouping, and Luhn's checksum."""
    text = typed(text)
    if _shows_none(_CARD_SHAPE, text):
        return
    for place in _CARD_PLACES.finditer(text):
        # What stands behind a card counts too.
        yield from _cards(_CARD.finditer(text, place.start(), place.end() + 2))


def _cards(hits: Iterator[re.Match[str]]) -> Iterator[Found]:
    for hit in hits:
        digits = re.sub(r"\D", "", hit.group())
        if _ISSUER.fullmatch(digits) and len(set(digits)) > 1 and _luhn(digits):
            yield Found("card", hit.start(), hit.end())


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


_IBAN = re.compile(
    r"[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Z0-9])",
    re.IGNORECASE,
)
_IBAN_SHAPE = re.compile(rb"aa00")
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 "
        "EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 "
        "NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 "
        "TR26 UA29 VA22 VG24 XK20",
    )
}


def ibans(text: str) -> Iterator[Found]:
    """Bank accounts: a country's length and the checksum."""
    text = typed(text)
    for hit in _apart(_IBAN, text) if not _shows_none(_IBAN_SHAPE, text) else ():
        for end in _ends(hit):
            account = text[hit.start() : end].replace(" ", "").upper()
            if len(account) == _IBAN_LENGTHS.get(account[:2]) and _mod97(account):
                yield Found("iban", hit.start(), end)
                break


def _ends(hit: re.Match[str]) -> Iterator[int]:
    """The whole, then without its last words: the next word may be taken for a part of it."""
    yield hit.end()
    for space in reversed([match.start() for match in re.finditer(" ", hit.group())]):
        yield hit.start() + space


def _mod97(account: str) -> bool:
    moved = account[4:] + account[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


_IPV4 = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}(?![\w]|[.\-]\w)")
_IPV6 = re.compile(r"[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])")
_VERSION = re.compile(
    r"(?:version|release|build|firmware|section|chapter|§|\bv|==|>=|~=)\W{0,3}\Z", re.I
)

_VERSION_PART = 20
"""Four numbers below this are a version far more often than an address."""


def ipv4_addresses(text: str) -> Iterator[Found]:
    """IP addresses that reach somebody: not private ones, nor those set aside for examples."""
    for hit in _apart(_IPV4, text, ".-:"):
        start = hit.start()
        in_path = text[start - 1 : start] == "/" and text[start - 2 : start - 1].isalnum()
        versioned = in_path or _VERSION.search(text, max(0, start - 14), start)
        if not versioned and _reaches_somebody(hit.group()):
            yield Found("ip", start, hit.end())


def ipv6_addresses(text: str) -> Iterator[Found]:
    """The same of version 6, as far as such addresses have been given out."""
    for hit in _apart(_IPV6, text, ".-:"):
        if _reaches_somebody(hit.group()):
            yield Found("ip", hit.start(), hit.end())


def _reaches_somebody(address: str) -> bool:
    if ":" not in address and all(int(part) < _VERSION_PART for part in address.split(".")):
        return False
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
