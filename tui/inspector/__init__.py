"""The views of the data pane: rows, problems, lengths, rules and facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.inspector.view import View


def views() -> list[type[View]]:
    """All views in their order. Imported when asked: what they stand on takes time to load."""
    from tui.inspector.facts import Facts
    from tui.inspector.lengths import Lengths
    from tui.inspector.problems import Problems
    from tui.inspector.rules import Rules
    from tui.inspector.table import Table

    return [Table, Problems, Lengths, Rules, Facts]
