"""Widgets of finetui: each owns its keys and its style, and none knows a run."""
