"""What a model answers, and how base and tuned model compare."""
