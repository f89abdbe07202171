"""Which rows repeat others, exactly or nearly."""
