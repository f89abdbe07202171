"""From files to frozen tokens. Free of torch, except for the job in ``prepare``."""
