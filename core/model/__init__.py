"""From a model id to a trainable model. Only ``shapes`` is free of torch."""
