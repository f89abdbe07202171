"""How a chat becomes tokens with a mask, and tokens become sequences."""
