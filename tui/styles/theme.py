"""finetui's theme: a calm dark ground, one accent, and red and yellow for what needs a look."""

from __future__ import annotations

from textual.theme import Theme

FINETUI = Theme(
    name="finetui",
    primary="#5fb3b3",
    secondary="#c7a76c",
    accent="#5fb3b3",
    warning="#d9a441",
    error="#e06c75",
    success="#7fb685",
    foreground="#cdd3da",
    background="#101419",
    surface="#101419",
    panel="#1a2027",
    dark=True,
    variables={
        "border": "#37414b",
        "border-blurred": "#37414b",
        "input-selection-background": "#5fb3b3 35%",
        "input-cursor-background": "#5fb3b3",
        "input-cursor-foreground": "#101419",
        "block-cursor-background": "#1f3a3d",
        "block-cursor-foreground": "#e6ebf0",
        "block-cursor-text-style": "none",
        "footer-key-foreground": "#5fb3b3",
        "scrollbar": "#2a323b",
        "scrollbar-hover": "#3a454f",
        "scrollbar-active": "#5fb3b3",
        "scrollbar-background": "#101419",
        "scrollbar-background-hover": "#101419",
        "scrollbar-background-active": "#101419",
        "scrollbar-corner-color": "#101419",
    },
)
