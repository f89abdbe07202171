"""How rows come out of files of any kind, with file and line."""
