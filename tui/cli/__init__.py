"""The command line: everything the screen can start, for scripts and plain terminals."""
