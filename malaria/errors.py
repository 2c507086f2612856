"""The error that a user can fix, and what a user stops."""


class MalariaError(Exception):
    """A user's mistake: one sentence with the thing, the value and the remedy.

    Stages and commands print the message without a traceback; stages exit with 1, commands with 2.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM where there is more to say: what is kept, and how to resume."""
