"""What each rule of cleaning would do to rows, whether it is on or not: counts and examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.config.data import CleanConfig
from core.config.schema import RunConfig
from core.data.chats.formats import Chat, Defect
from core.data.clean.preview import Pieces, preview
from core.data.clean.rules import RULES, Cleaner, Rule
from core.data.overlay import Overlay
from core.data.pipeline import Pipeline
from core.data.read.sources import Rejected, Row

EXAMPLES = 50
"""Rows kept as examples of one rule."""

_EMPTY = ("empty_prompt", "empty_answer", "empty_text")

BARE: dict[str, Any] = {
    name: [] if name == "languages" else False if isinstance(info.default, bool) else info.default
    for name, info in CleanConfig.model_fields.items()
}
"""Settings in which no rule changes or rejects a row."""


@dataclass
class Trial:
    """Rows as they come in, each looked at by every rule on its own.

    ``looked`` rows were looked at; ``found`` says how many of them a rule would repair, reject or
    find something in. A rule on length or language says nothing without its value. ``empty`` is
    about turns that are empty as they stand, which are always rejected, and about those that the
    repairs that are on leave empty.
    """

    config: RunConfig
    overlay: Overlay
    looked: int = 0
    found: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bare = self.config.model_copy(update={"clean": CleanConfig(**BARE)})
        self._pipeline = Pipeline(bare)
        self._pipeline.overlay = self.overlay
        own = self.config.clean
        repairs = {rule.name: getattr(own, rule.name) for rule in RULES if rule.repair}
        self._emptied = Cleaner(CleanConfig(**(BARE | repairs | {"empty": True})))

    def look(self, number: int, row: Row | Rejected) -> None:
        """Let every rule look at a row."""
        outcome = self._pipeline.outcome(row)
        self.looked += 1
        if isinstance(outcome, Rejected):
            if outcome.reason.startswith(_EMPTY):
                self._enter("empty", number)
            return
        for rule in RULES:
            if rule.name == "empty":
                acted = isinstance(self._emptied.clean(outcome.chat, private_data=False), Defect)
            else:
                acted = acts(rule, outcome.chat, self.config.clean)
            if acted:
                self._enter(rule.name, number)

    def _enter(self, name: str, number: int) -> None:
        self.found[name] = self.found.get(name, 0) + 1
        examples = self.examples.setdefault(name, [])
        if len(examples) < EXAMPLES:
            examples.append(number)

    def shown(self, rule: Rule, row: Row | Rejected) -> tuple[Pieces, Pieces] | str:
        """What a rule does to a row: before and after, or a sentence where there is nothing to
        point at."""
        outcome = self._pipeline.outcome(row)
        if isinstance(outcome, Rejected):
            return f"{outcome.detail}: rejected whether this is on or off"
        chat = outcome.chat
        emptied = self._emptied.clean(chat, private_data=False) if rule.name == "empty" else None
        if isinstance(emptied, Defect):
            return emptied.detail
        pieces = preview(rule, chat)
        if pieces is not None:
            return pieces
        defect = rule.judge(chat, self.config.clean) if rule.judge is not None else None
        return defect.detail if defect is not None else "nothing to do in this row"


def acts(rule: Rule, chat: Chat, config: CleanConfig) -> bool:
    """Whether a rule would do something to a chat, were it on."""
    if rule.repair is not None:
        repair, may = rule.repair, rule.may_apply
        texts = (turn["content"] for turn in chat if turn["role"] != "tool")
        return any((may is None or may(text)) and repair(text) != text for text in texts)
    if rule.judge is not None:
        value = getattr(config, rule.name)
        given = isinstance(rule.default, bool) or bool(value)
        return given and rule.judge(chat, config) is not None
    if rule.find is not None:
        return any(rule.find(turn["content"]) for turn in chat)
    return False
