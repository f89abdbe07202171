"""finetui's core: everything but the screen."""
