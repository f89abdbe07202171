"""HTML in text, as it comes from web pages: tags go, entities become characters.

Only what is surely markup is touched: elements that HTML knows, opened and closed. A text that
is itself a page, ``List<int>``, ``a < b`` and a tag that is spoken of stay as they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html import unescape

from core.data.clean.fences import outside_code, without_code

_INLINE = "a abbr acronym b bdi bdo big center cite del dfn em font i ins kbd label mark q s " \
          "samp small span strike strong sub sup time tt u var"  # fmt: skip
_BLOCKS = "address article aside blockquote button caption dd details div dl dt fieldset " \
          "figcaption figure footer form h1 h2 h3 h4 h5 h6 header iframe legend li main nav " \
          "noscript ol option p section select summary table tbody td textarea tfoot th thead " \
          "tr ul video audio canvas svg object picture"  # fmt: skip
_ALONE = "area br col embed hr img input link meta param source track wbr"
_NAMES = "|".join(sorted((_INLINE + " " + _BLOCKS + " " + _ALONE).split(), key=len, reverse=True))
_SINGLE = frozenset(_ALONE.split())
_BREAKING = frozenset(_BLOCKS.split()) - {"td", "th", "li", "option", "button"}
_UNCLOSED = frozenset({"p", "li", "dd", "dt", "td", "th", "tr", "option"})
"""Elements whose end tag may be left out."""
_SWITCHES = "allowfullscreen|async|autoplay|checked|controls|defer|disabled|hidden|loop|multiple|" \
            "muted|nowrap|novalidate|open|readonly|required|reversed|selected"  # fmt: skip
_VALUE = r"(?:\"[^\"<]*\"|'[^'<]*'|[^\s\"'<>=`]+)"
_ATTRIBUTE = rf"\s+(?:[A-Za-z_:@][\w:.\-]*\s*=\s*{_VALUE}|(?:{_SWITCHES})(?=[\s/>]))"
_TAG = re.compile(
    rf"<(?P<end>/?)(?P<name>{_NAMES})(?:{_ATTRIBUTE})*\s*/?>"
    r"(?P<spoken>[\"'”’]|\s+(?:tags?|elements?|attributes?)\b)?",
    re.IGNORECASE,
)
_PAGE = re.compile(
    r"<!doctype\b|<(?:html|head|body|script|style|template)[\s>]|<\?(?:php|xml)\b", re.IGNORECASE
)
_COMMENT = re.compile(r"<!--(?!\[if)(?:(?!<!--).){,20000}?-->", re.DOTALL)
_PRE = re.compile(
    r"<pre(?:\s[^<>]*)?>\s*(?:<code(?:\s[^<>]*)?>)?\n?(?P<body>(?:(?!<pre)[^`]){,20000}?)(?:</code>)?\s*</pre>",
    re.IGNORECASE,
)
_CODE = re.compile(r"<code(?:\s[^<>]*)?>(?P<body>[^\n`]{1,400}?)</code>", re.IGNORECASE)
_AMPERSANDS = re.compile(r"&(?:amp;|#38;|#x26;)+", re.IGNORECASE)
_ENTITY = re.compile(
    r"(?P<shown>&lt;[/!]?[a-z][^<>&\n]{,200}&gt;)|"
    r"&(?!lt;[/!]?[a-z])(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});",
    re.IGNORECASE,
)
_JOINED = re.compile(r"^\s*(?:and|or|und|et|y|,|\.\.\.|…|/)\s*$", re.IGNORECASE)


def may_be_html(text: str) -> bool:
    """Whether a text may hold a tag or an entity."""
    return ("<" in text and ">" in text) or ("&" in text and ";" in text)


def without_html(text: str) -> str:
    """The text with HTML's elements and entities resolved, its code kept as Markdown code."""
    if "<" in text and _PAGE.search(without_code(text)):
        return text
    plain = outside_code(outside_code(text, _code), _resolved)
    if plain != text:
        plain = plain if text.startswith("\n") else plain.lstrip("\n")
        plain = plain if text.endswith("\n") else plain.rstrip("\n")
    return plain


def _code(part: str) -> str:
    """Elements of code as Markdown's, so that what they hold stays as it is."""
    if "<" not in part:
        return part
    part = _PRE.sub(lambda pre: f"\n```\n{unescape(pre['body']).rstrip()}\n```\n", part)
    return _CODE.sub(lambda code: f"`{unescape(code['body']).strip()}`", part)


def _resolved(part: str) -> str:
    if "<" in part:
        part = _without_tags(_COMMENT.sub("", part))
    if "&" in part:
        part = _ENTITY.sub(_character, _AMPERSANDS.sub("&amp;", part))
    return part


def _character(entity: re.Match[str]) -> str:
    if entity["shown"]:  # a tag that the page shows as text: as a tag it would be taken for one
        return entity["shown"]
    char = unescape(entity.group())
    return " " if char == "\xa0" else char


def _without_tags(part: str) -> str:
    tags = [tag for tag in _TAG.finditer(part) if not tag["spoken"]]
    going = _going(part, tags)
    if not going:
        return part
    pieces, end = [], 0
    for tag in going:
        before = part[end : tag.start()]
        at_start = before.endswith("\n") or not (end or before.strip())
        pieces += [before, _in_place_of(tag, at_start=at_start)]
        end = tag.end()
    plain = "".join([*pieces, part[end:]])
    return re.sub(r"[ \t]*\n(?:[ \t]*\n)+", "\n\n", plain)


def _going(part: str, tags: list[re.Match[str]]) -> list[re.Match[str]]:
    """The tags that are surely markup: both of a pair, and those that may stand alone."""
    sure: set[int] = set()
    opened: defaultdict[str, list[int]] = defaultdict(list)
    for number, tag in enumerate(tags):
        name, after_word = tag["name"].lower(), part[tag.start() - 1 : tag.start()].isalnum()
        if name in _SINGLE:
            if name in ("br", "hr", "img", "wbr") or not after_word:
                sure.add(number)
        elif not tag["end"]:
            opened[name].append(number)
            if name in _UNCLOSED and not after_word:
                sure.add(number)
        elif opened[name]:
            first = opened[name].pop()
            inside = part[tags[first].end() : min(tag.start(), tags[first].end() + 20)]
            if not _JOINED.match(inside):
                sure |= {first, number}
        elif name in _UNCLOSED:
            sure.add(number)
    return [tags[number] for number in sorted(sure)]


def _in_place_of(tag: re.Match[str], *, at_start: bool) -> str:
    """What a browser would show where the tag stands: a break, a list's mark, or nothing."""
    name = tag["name"].lower()
    if name in ("br", "hr"):
        return "\n"
    if name == "li":
        return "" if tag["end"] else "- " if at_start else "\n- "
    if name in ("td", "th"):
        return " " if tag["end"] else ""
    if name == "p":
        return "\n\n" if tag["end"] or not at_start else ""
    return "\n" if name in _BREAKING and not at_start else ""
