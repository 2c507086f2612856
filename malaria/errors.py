"""The one kind of error that is the user's to mend."""


class MalariaError(Exception):
    """A fault that a user can mend: one sentence with the thing, the value and the remedy.

    Stages and commands print its message without a traceback and exit with 1.
    """
