"""The views of the data pane: rows, problems, lengths, rules and facts."""
