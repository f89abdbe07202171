"""Screens: the main one with its panes, and the dialogs that open above it."""
