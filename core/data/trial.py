"""What each rule of cleaning would do to rows, whether it is on or not: counts and examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.config.data import CleanConfig
from core.config.schema import RunConfig
from core.data.chats.formats import Chat
from core.data.clean.preview import Pieces, preview
from core.data.clean.rules import RULES, Rule
from core.data.overlay import Overlay
from core.data.pipeline import Kept, Pipeline
from core.data.read.sources import Rejected, Row

EXAMPLES = 50
"""Rows kept as examples of one rule."""

BARE: dict[str, Any] = {
    name: [] if name == "languages" else False if isinstance(info.default, bool) else info.default
    for name, info in CleanConfig.model_fields.items()
}
"""Settings in which no rule changes or rejects a row."""


@dataclass
class Trial:
    """Rows as they come in, each looked at by every rule on its own.

    ``looked`` rows were looked at; ``found`` says how many of them a rule would repair, reject or
    find something in. A rule on length or language says nothing without its value.
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

    def chat(self, row: Row | Rejected) -> Chat | None:
        """A row as a chat, before any rule; None for one that is no chat."""
        outcome = self._pipeline.outcome(row)
        return outcome.chat if isinstance(outcome, Kept) else None

    def look(self, number: int, row: Row | Rejected) -> None:
        """Let every rule look at a row."""
        chat = self.chat(row)
        self.looked += 1
        for rule in RULES if chat is not None else ():
            if chat is not None and acts(rule, chat, self.config.clean):
                self.found[rule.name] = self.found.get(rule.name, 0) + 1
                examples = self.examples.setdefault(rule.name, [])
                if len(examples) < EXAMPLES:
                    examples.append(number)

    def shown(self, rule: Rule, row: Row | Rejected) -> tuple[Pieces, Pieces] | str:
        """What a rule does to a row: before and after, or a sentence where there is nothing to
        point at."""
        chat = self.chat(row)
        if chat is None:
            return "this row is no chat"
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
