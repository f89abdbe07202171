"""The rules: what they repair or reject, what they leave alone, and that one pass is enough."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.data import CleanConfig
from core.config.errors import InputError
from core.data.chats.formats import Chat, Defect
from core.data.clean.preview import preview
from core.data.clean.rules import RULES, Cleaned, Cleaner, token_defect

ALL_REPAIRS = CleanConfig(html=True, whitespace=True, empty=False)
RULE = {rule.name: rule for rule in RULES}


def chat_of(answer: str, prompt: str = "A question?") -> Chat:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def cleaned(answer: str, **on: Any) -> str:
    result = Cleaner(CleanConfig(**on)).clean(chat_of(answer))
    assert isinstance(result, Cleaned)
    return result.chat[1]["content"]


def reason(answer: str, prompt: str = "A question?", **on: Any) -> str | None:
    result = Cleaner(CleanConfig(**on)).clean(chat_of(answer, prompt))
    return result.reason if isinstance(result, Defect) else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("cafÃ© Itâ€™s voilÃ\xa0", "café It’s voilà"),
        ("it\x92s", "it’s"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет"),
        ("a\x00b\x07c\x7f", "abc"),
        ("page one\x0cpage two\u2028line", "page one\npage two\nline"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("zero\u200bwidth\ufeff soft\xadhyphen\u2060", "zerowidth softhyphen"),
        ("la\u200dtin\u200c", "latin"),
        ("left\u202eto right", "leftto right"),
        ("hidden\U000e0068\U000e0069", "hidden"),
    ],
)
def test_damage_is_repaired_by_default(text: str, expected: str) -> None:
    assert cleaned(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "tab\tand\nline\n\n\n\nand  spaces  ",
        "größe, “quoted” – naïve… №5 «да» её Łódź żółć 日本語 ½ × 3² São Tomé",
        "👩\u200d👩\u200d👧 and ❤\ufe0f\u200d🔥",
        "می\u200cخواهم و PDF\u200cها",
        "क्\u200dष and മലയാള\u200dം",
        "ภาษา\u200bไทย",
        "שלום \u200e(abc)\u200f",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "<p>HTML &amp; more</p> {{name}} As an AI language model, I cannot",
    ],
)
def test_what_people_wrote_is_the_same_object(text: str) -> None:
    chat = chat_of(text)
    result = Cleaner(CleanConfig()).clean(chat)
    assert isinstance(result, Cleaned)
    assert result.chat is chat
    assert result.changed == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Make it <b>bold</b>.</p><ul><li>a</li><li>b &amp; c</li></ul>",
         "Make it bold.\n\n- a\n- b & c"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ('<a href="https://example.com/?a=1&amp;b=2">here</a>', "here"),
        ("<p>How <code>x &lt; y</code></p><pre><code>if (i&lt;3)\n  x();\n</code></pre>",
         "How `x < y`\n\n```\nif (i<3)\n  x();\n```"),
        ("5 &lt; 6 &copy; &#8364; &hearts; &amp;amp; &nbsp;.", "5 < 6 © € ♥ &  ."),
        ("kept<!-- not this -->", "kept"),
    ],
)  # fmt: skip
def test_html_becomes_text(text: str, expected: str) -> None:
    assert cleaned(text, html=True) == expected


@pytest.mark.parametrize(
    "text",
    [
        "List<int> x; Map<String, List<a>> y; vec<p> z;",
        "a < b and c > d; if a <b and c> d",
        "```html\n<p>code &amp; more</p>\n```",
        "Inline `<b>x</b> &lt;` stays.",
        "~~~\n<i>x</i>",
        "Use the <b> tag. Write \"<i>\" here. Use <b> and </b>.",
        "<!DOCTYPE html>\n<html><body><p>A page is code.</p></body></html>",
        "<think>reasoning</think> <|im_start|> <name>",
        "shown as &lt;b&gt;bold&lt;/b&gt; AT&T; R&D &foo;",
    ],
)  # fmt: skip
def test_code_and_what_only_looks_like_html_stay(text: str) -> None:
    assert cleaned(text, html=True) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two  spaces.   Three.", "two spaces. Three."),
        ("\n\nblank\n\n\n\n  \nlines \n\n", "blank\n\nlines"),
        ("hard  \nbreak", "hard  \nbreak"),
        ("-   item  one\n1.  two  two", "-   item one\n1.  two two"),
        ("name      age\nAnna      31", "name      age\nAnna      31"),
        ("| a   | b  |\n|-----|----|", "| a   | b  |\n|-----|----|"),
        ("def f():\n    x   = 1\n        y", "def f():\n    x   = 1\n        y"),
        ("x = 'a    b'", "x = 'a    b'"),
        ("a  b\n```\nc  d   \n\n\n\n```", "a b\n```\nc  d   \n\n\n\n```"),
    ],
)
def test_white_space_is_squeezed_where_it_means_nothing(text: str, expected: str) -> None:
    assert cleaned(text, whitespace=True) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He said â€œyesâ€ and left.", "He said “yes” and left."),
        ("â€œaâ€, then â€œbâ€", "“a”, then “b”"),
        ("“halfâ€ repaired", "“half” repaired"),
        ("an apostrophe inside: â€œitâ€™sâ€ ok", "an apostrophe inside: “it’s” ok"),
    ],
)
def test_a_closing_quote_that_lost_its_last_byte_is_repaired(text: str, expected: str) -> None:
    assert cleaned(text) == expected


def test_changes_are_named_and_only_changed_turns_are_new() -> None:
    chat = chat_of("cafÃ©\u200b", prompt="plain")
    result = Cleaner(CleanConfig()).clean(chat)
    assert isinstance(result, Cleaned)
    assert result.changed == ("mojibake", "control_characters")
    assert result.chat[0] is chat[0]
    assert chat[1]["content"] == "cafÃ©\u200b"


def test_reasoning_is_repaired_and_a_tools_text_is_not() -> None:
    chat: Any = [
        {"role": "user", "content": "q"},
        {"role": "tool", "content": "raw\x00", "name": "f"},
        {"role": "assistant", "content": "a", "reasoning_content": "th\x00ink"},
    ]
    result = Cleaner(CleanConfig()).clean(chat)
    assert isinstance(result, Cleaned)
    assert result.chat[1] is chat[1]
    assert result.chat[2] == {"role": "assistant", "content": "a", "reasoning_content": "think"}


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.kind != "find"], ids=lambda rule: rule.name
)
def test_a_rule_switched_off_does_nothing(rule: Any) -> None:
    off = {"bool": False, "list": [], "NoneType": None}[type(rule.default).__name__]
    bad = (
        "cafÃ©\u200b<b>x</b>  y\r\n\n\n{{name}} I'm sorry, but I can't help. Ein Satz auf Deutsch."
    )
    result = Cleaner(CleanConfig(**{rule.name: off})).clean(chat_of(bad))
    assert isinstance(result, Cleaned)
    assert rule.name not in result.changed
    assert rule.help


@pytest.mark.parametrize(
    ("text", "on", "expected"),
    [
        ("\u200b \x00", {}, "empty_answer"),
        ("short", {"min_answer_chars": 6}, "too_short"),
        ("enough", {"min_answer_chars": 6}, None),
        ("x" * 90, {"max_chars": 100}, "too_long"),
        ("x" * 89, {"max_chars": 100}, None),
        ("Dear {{customer name}},", {"placeholders": True}, "placeholder"),
        ("Go to <your city>.", {"placeholders": True}, "placeholder"),
        ("Best,\n[Your Name]", {"placeholders": True}, "placeholder"),
        ("On [DATE] we met", {"placeholders": True}, "placeholder"),
        ("Lorem ipsum dolor sit amet", {"placeholders": True}, "placeholder"),
        ("{% for x in y %}{{ x }}{% endfor %}", {"placeholders": True}, None),
        (r"$\frac{{a}}{b}$ and \textbf{{x}}", {"placeholders": True}, None),
        ("`{{name}}` and\n```\n<your name>\n```", {"placeholders": True}, None),
        ("f'{{{name}}}' {{ user.name }} {{1}}", {"placeholders": True}, None),
        ("[Your account](https://example.com) and [name]: x", {"placeholders": True}, None),
        ("a [date-time] and <string>", {"placeholders": True}, None),
        ("I'm sorry, but I can’t help with that.", {"refusals": True}, "refusal"),
        ("I cannot assist with this request.", {"refusals": True}, "refusal"),
        ("Well. As an AI language model, I have none.", {"refusals": True}, "refusal"),
        ("I'm sorry to hear that your order is late.", {"refusals": True}, None),
        ("She said she cannot help it, as an AI researcher.", {"refusals": True}, None),
    ],
)
def test_rows_are_rejected_with_a_reason(
    text: str, on: dict[str, Any], expected: str | None
) -> None:
    assert reason(text, **on) == expected


def test_a_refusal_in_the_question_is_no_refusal() -> None:
    assert reason("Sure.", "Say: I cannot assist with that.", refusals=True) is None


def test_an_answer_of_tool_calls_alone_is_not_empty() -> None:
    chat: Any = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]},
    ]
    assert isinstance(Cleaner(CleanConfig()).clean(chat), Cleaned)
    assert reason("  ", empty=True) == "empty_answer"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("You can reset your password in the settings, below your account.", None),
        ("Sie können Ihr Kennwort in den Einstellungen zurücksetzen.", "other_language"),
        ("Yes.", None),
        ("Paris, Madrid", None),
        ("```\nfür alle die das hier lesen können ist das nur ein Stück Quelltext\n```", None),
    ],
)  # fmt: skip
def test_only_a_language_that_is_sure_rejects(text: str, expected: str | None) -> None:
    assert reason(text, languages="en") == expected


def test_a_language_that_cannot_be_told_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="'xx' is no language") as caught:
        Cleaner(CleanConfig(languages="en, xx"))  # type: ignore[arg-type]
    assert "de, " in caught.value.remedies[0]


def test_limits_in_tokens() -> None:
    config = CleanConfig(min_answer_tokens=3, max_tokens=10)
    assert token_defect(config, 10, 3) is None
    assert [token_defect(config, *n).reason for n in [(5, 2), (11, 5)]] == [  # type: ignore[union-attr]
        "too_short", "too_long",
    ]  # fmt: skip
    assert token_defect(CleanConfig(), 10**6, 0) is None


def test_previews_show_before_and_after() -> None:
    before, after = preview(RULE["mojibake"], chat_of("x" * 1000 + "cafÃ© here")) or ((), ())
    assert ("Ã©", True) in before
    assert ("é", True) in after
    assert "".join(text for text, _ in after).endswith("café here")
    rejected = preview(RULE["placeholders"], chat_of("Dear {{name}},"))
    assert rejected == ((("Dear ", False), ("{{name}}", True), (",", False)), ())
    assert preview(RULE["html"], chat_of("plain")) is None
    assert preview(RULE["max_chars"], chat_of("plain")) is None


DIRT = st.sampled_from(
    ["cafÃ©", "â€™", "\x00", "\u200b", "\u200d", "👩", "\r\n", "\n\n\n", "  ", " \n", "<b>", "</b>",
     "<p>", "<br>", "<li>", "&amp;", "amp;", "&lt;", "b&gt;", "<!--", "-->", "<code>", "</code>",
     "<pre>", "</pre>", "\xa0", "Ã", "-  ", "a", "word", ".", "\t", "1", "<", ">", "&", "é", "\x92",
     "\ufeff", "\u200f", "ש", "|", "```", "`", "~~~\n", "\u2028", "'"]
)  # fmt: skip
TEXT = st.lists(DIRT | st.text(max_size=3), max_size=14).map("".join)
PROSE = TEXT.map(lambda text: text.replace("`", "").replace("~", ""))


@given(TEXT)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_a_second_pass_finds_nothing_to_do(text: str) -> None:
    cleaner = Cleaner(ALL_REPAIRS)
    once = cleaner.clean(chat_of(text))
    assert isinstance(once, Cleaned)
    twice = cleaner.clean(once.chat)
    assert isinstance(twice, Cleaned)
    assert twice.chat is once.chat
    assert twice.changed == ()


@given(before=PROSE, code=PROSE, after=PROSE, fence=st.sampled_from(["```", "~~~~", "````py"]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_fenced_code_is_never_changed(before: str, code: str, after: str, fence: str) -> None:
    mark = fence.rstrip("py")
    block = f"{fence}\n{code}\n{mark}".replace("\r\n", "\n").replace("\r", "\n")
    result = Cleaner(ALL_REPAIRS).clean(chat_of(f"{before}\n{block}\n{after}"))
    assert isinstance(result, Cleaned)
    assert block in result.chat[1]["content"]


@given(TEXT)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_quick_test_never_hides_work(text: str) -> None:
    for rule in RULES:
        if rule.may_apply is not None and rule.repair is not None and not rule.may_apply(text):
            assert rule.repair(text) == text, rule.name
