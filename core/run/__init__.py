"""How a run lives: the engine, the worker around it, the host that keeps it alive, the link."""
