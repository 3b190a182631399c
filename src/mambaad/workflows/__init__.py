"""One file a command: what each does, from its arguments to its results."""
