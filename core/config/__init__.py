"""What the user wants: one declaration for the form, the flags, the file and every check."""
