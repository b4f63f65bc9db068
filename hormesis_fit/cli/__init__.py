"""The command `hormesis-fit`."""
