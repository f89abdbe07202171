"""How a row of any format becomes a chat."""
