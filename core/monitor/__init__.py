"""The machine a run lives on: GPUs, memory, what is missing, and what to do about an error."""
