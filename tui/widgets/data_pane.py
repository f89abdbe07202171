"""The data pane: the inspector of the training data, in views that arrow keys walk through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from tui import numbers
from tui.bindings import bindings
from tui.inert import inert
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from core.data.survey import Survey
    from core.data.tokens import ChatCodec
    from tui.inspector.table import Table
    from tui.inspector.view import View
    from tui.rows import Rows

_EMPTY = "No data yet.\n\no opens a .jsonl or .json file: Alpaca, ShareGPT, messages, or prompt and completion."  # noqa: E501

_LOOK_SECONDS = 0.25
"""How often the pane shows what threads have found meanwhile."""
