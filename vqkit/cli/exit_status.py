"""What a command tells the shell."""

from enum import IntEnum

__all__ = ["ExitStatus"]


class ExitStatus(IntEnum):
    """Exit statuses of every verb."""

    DONE = 0
    SOME_FAILED = 1
    WRONG_USAGE = 2
    INTERRUPTED = 130
