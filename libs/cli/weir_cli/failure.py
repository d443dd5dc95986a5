"""What ends a command: one clear line for a person, exit code 1."""


class Failure(Exception):
    """The command cannot do what was asked; the message says why and what would help."""
