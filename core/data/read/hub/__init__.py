"""Data sets of a hub: downloaded, or a sample of them streamed."""
