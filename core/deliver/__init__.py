"""From an adapter to something that serves."""
