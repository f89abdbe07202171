"""From a trainable model to an adapter, in a way that survives being killed at any instant."""
