"""What repairs a row, rejects it, or finds something in it."""
