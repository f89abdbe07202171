"""The screen: what a person sees and presses. Everything else lives in `core`."""
