"""The rules that repair, reject or look into a row, each with its name, help and default.

A rule's name is its setting in ``[clean]``. A row that needs nothing costs a few microseconds: a
quick test over all its text comes before any search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from core.config.counted import counted
from core.config.data import CleanConfig
from core.data.chats.formats import Chat, Defect, Message
from core.data.clean import language, markup, phrases, private, repairs
from core.data.clean.phrases import Span

_ROUNDS = 10
"""Repairs are made until nothing changes; a text that never settles is left as it was."""
_OF_CHARACTERS = ("line_endings", "mojibake", "control_characters")
"""Repairs that look for certain characters; see ``glance``."""
_LEFT_ALONE = ("tool",)
"""Roles whose text no rule repairs: what a tool returned is no prose."""


@dataclass(frozen=True)
class Rule:
    """One rule. ``field`` of the settings switches it on; the rest says what it does."""

    name: str
    kind: Literal["repair", "reject", "find"]
    """What it does with a turn; one that finds shows, masks or drops, as its setting says."""
    may_apply: Callable[[str], bool] | None = None
    """A quick test of a text: False only where the rule surely does nothing."""
    repair: Callable[[str], str] | None = None
    judge: Callable[[Chat, CleanConfig], Defect | None] | None = None
    find: Callable[[str], list[Span]] | None = None
    """Where in a turn the rule sees what it rejects or finds; for the preview."""

    @property
    def help(self) -> str:
        """What the rule does, from its setting."""
        return str(CleanConfig.model_fields[self.name].description)

    @property
    def default(self) -> Any:
        """The setting's default."""
        return CleanConfig.model_fields[self.name].get_default(call_default_factory=True)

    def is_on(self, config: CleanConfig) -> bool:
        """Whether the settings switch this rule on."""
        return bool(getattr(config, self.name))


class Cleaned(NamedTuple):
    """A chat after its repairs; the very same object when nothing was changed."""

    chat: Chat
    changed: tuple[str, ...] = ()
    """Names of the rules that changed something, for the counts."""
    found: tuple[str, ...] = ()
    """Kinds of personal data and secrets that were found, each once."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be counted of a row that is kept."""
        return self.changed + tuple(f"{kind}_found" for kind in self.found)


class Cleaner:
    """Applies the rules that are on to one chat after another.

    Raises InputError for a language that no text can be found to have.
    """

    def __init__(self, config: CleanConfig):
        self._config = config
        language.check(config.languages)
        on = [rule for rule in RULES if rule.is_on(config)]
        self._repairs = [rule for rule in on if rule.repair is not None]
        self._tests = [rule.may_apply for rule in self._repairs if rule.may_apply is not None]
        self._other_tests = [
            rule.may_apply
            for rule in self._repairs
            if rule.may_apply is not None and rule.name not in _OF_CHARACTERS
        ]
        self._judges = [rule.judge for rule in on if rule.judge is not None]

        self.passes_plain = not self._other_tests and self._judges in ([], [_empty])
        """Whether a chat that is not empty and has nothing odd passes as it is."""

    def clean(
        self, chat: Chat, *, odd: bool = True, private_data: bool | None = None
    ) -> Cleaned | Defect:
        """The chat with its repairs, or the first reason to reject it.

        What is known of its contents saves tests: not ``odd`` ones have no character that a
        repair of characters looks for, and ``private_data`` says whether any may be there.
        """
        changed: tuple[str, ...] = ()
        more = _says_more(chat)
        tests = self._tests if odd else self._other_tests
        text = (
            "\n".join([turn["content"] for turn in chat]) if tests or private_data is None else ""
        )
        if more or _may_apply(tests, text):
            chat, changed = self._repaired(chat)
        for judge in self._judges:
            defect = judge(chat, self._config)
            if defect is not None:
                return defect
        if more or changed or (private.may_hold(text) if private_data is None else private_data):
            return self._without_private(chat, changed)
        return Cleaned(chat)

    def _without_private(self, chat: Chat, changed: tuple[str, ...]) -> Cleaned | Defect:
        """The chat with personal data and secrets left, masked or dropped, and their kinds."""
        found = list(dict.fromkeys(
            (place.kind, number)
            for number, turn in enumerate(chat, 1)
            for text in private.texts_of(turn)
            for place in private.find(text)
        ))  # fmt: skip
        masks: set[str] = set()
        for kind, number in found:
            rule = "secrets" if kind == private.SECRET else "personal_data"
            choice = getattr(self._config, rule)
            if choice == "drop":
                word = "a secret" if kind == private.SECRET else f"personal data ({kind})"
                return Defect(rule.removesuffix("s"), f"turn {number} holds {word}")
            if choice == "mask":
                masks.add(kind)
                changed += () if rule in changed else (rule,)
        if masks:
            chat = [private.changed(turn, lambda text: _masked(text, masks)) for turn in chat]
        return Cleaned(chat, changed, tuple(dict.fromkeys(kind for kind, _ in found)))

    def _repaired(self, chat: Chat) -> tuple[Chat, tuple[str, ...]]:
        names: set[str] = set()
        turns = [self._turn(turn, names) for turn in chat]
        if not names:
            return chat, ()
        return turns, tuple(rule.name for rule in self._repairs if rule.name in names)

    def _turn(self, turn: Message, names: set[str]) -> Message:
        if turn["role"] in _LEFT_ALONE:
            return turn
        new: Any = dict(turn)
        for key in ("content", "reasoning_content"):
            if isinstance(new.get(key), str):
                new[key] = self._text(new[key], names)
        repaired: Message = new
        return repaired if repaired != turn else turn

    def _text(self, text: str, names: set[str]) -> str:
        original, used = text, set[str]()
        for _ in range(_ROUNDS):
            before = text
            for rule in self._repairs:
                assert rule.repair is not None
                if rule.may_apply is None or rule.may_apply(text):
                    repaired = rule.repair(text)
                    if repaired != text:
                        used.add(rule.name)
                        text = repaired
            if text == before:
                if text != original:
                    names |= used
                return text
        return original


def token_defect(config: CleanConfig, tokens: int, loss_tokens: int) -> Defect | None:
    """The limits in tokens, for where tokens are counted: those of the row, those with loss."""
    least, most = config.min_answer_tokens, config.max_tokens
    if least is not None and loss_tokens < least:
        return Defect(
            "too_short",
            f"{counted(loss_tokens, 'token carries', 'tokens carry')} loss; {least} are wanted",
        )
    if most is not None and tokens > most:
        return Defect("too_long", f"has {tokens} tokens; at most {most} are wanted")
    return None


def _may_apply(tests: list[Callable[[str], bool]], text: str) -> bool:
    for test in tests:  # noqa: SIM110 - a generator would cost as much as the tests
        if test(text):
            return True
    return False


def _says_more(chat: Chat) -> bool:
    """Whether a turn has text beside its content: reasoning, or calls of tools."""
    for turn in chat:  # noqa: SIM110 - a generator would cost three times as much
        if len(turn) > 2:
            return True
    return False


def _masked(text: str, kinds: set[str]) -> str:
    return private.masked(text, [place for place in private.find(text) if place.kind in kinds])


def _places(kinds: tuple[str, ...]) -> Callable[[str], list[Span]]:
    return lambda text: [(p.start, p.end) for p in private.find(text) if p.kind in kinds]


def _empty(chat: Chat, config: CleanConfig) -> Defect | None:
    for number, turn in enumerate(chat, 1):
        content = turn["content"]
        if content and (content[0].isalnum() or not content.isspace()):
            continue
        role = turn["role"]
        if role in ("user", "text") or (role == "assistant" and not turn.get("tool_calls")):
            side = {"user": "prompt", "text": "text"}.get(role, "answer")
            return Defect(f"empty_{side}", f"turn {number} ({role}) is empty after the repairs")
    return None


def _answers(chat: Chat) -> list[str]:
    return [turn["content"] for turn in chat if turn["role"] in ("assistant", "text")]


def _too_short(chat: Chat, config: CleanConfig) -> Defect | None:
    count, least = sum(len(text.strip()) for text in _answers(chat)), config.min_answer_chars or 0
    if count >= least:
        return None
    return Defect(
        "too_short", f"its answers have {counted(count, 'character')}; at least {least} are wanted"
    )


def _too_long(chat: Chat, config: CleanConfig) -> Defect | None:
    count, most = sum(len(turn["content"]) for turn in chat), config.max_chars
    if most is None or count <= most:
        return None
    return Defect("too_long", f"has {count} characters; at most {most} are wanted")


def _placeholder(chat: Chat, config: CleanConfig) -> Defect | None:
    for number, turn in enumerate(chat, 1):
        text = turn["content"]
        if turn["role"] not in _LEFT_ALONE and phrases.may_hold_places(text):
            for start, end in phrases.unfilled_places(text)[:1]:
                return Defect("placeholder", f"turn {number} holds {text[start:end]}")
    return None


def _refusal(chat: Chat, config: CleanConfig) -> Defect | None:
    for number, turn in enumerate(chat, 1):
        if turn["role"] == "assistant":
            for start, end in phrases.refusals(turn["content"])[:1]:
                return Defect("refusal", f"turn {number} says: {turn['content'][start:end]}")
    return None


def _other_language(chat: Chat, config: CleanConfig) -> Defect | None:
    found = language.of("\n".join(_answers(chat)))
    if found is None or found in config.languages:
        return None
    wanted = ", ".join(config.languages)
    return Defect("other_language", f"its answers are in {found}; wanted: {wanted}")


RULES: tuple[Rule, ...] = (
    Rule("line_endings", "repair", repairs.has_odd_line_ends, repairs.plain_line_ends),
    Rule("mojibake", "repair", repairs.may_be_mojibake, repairs.right_encoding),
    Rule("control_characters", "repair", repairs.has_controls, repairs.without_controls),
    Rule("html", "repair", markup.may_be_html, markup.without_html),
    Rule("whitespace", "repair", repairs.has_spare_space, repairs.single_space),
    Rule("empty", "reject", judge=_empty),
    Rule("min_answer_chars", "reject", judge=_too_short),
    Rule("max_chars", "reject", judge=_too_long),
    Rule("min_answer_tokens", "reject"),
    Rule("max_tokens", "reject"),
    Rule("placeholders", "reject", judge=_placeholder, find=phrases.unfilled_places),
    Rule("refusals", "reject", judge=_refusal, find=phrases.refusals),
    Rule("languages", "reject", judge=_other_language),
    Rule("secrets", "find", find=_places((private.SECRET,))),
    Rule("personal_data", "find", find=_places(private.PERSONAL)),
)
"""All rules, in the order in which they are applied."""
