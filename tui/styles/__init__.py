"""Colours and layout. `finetui.tcss` stands beside this file."""
