"""The error of a command that cannot be carried out as it was given."""

from vqkit.errors import VqkitError

__all__ = ["UsageError"]


class UsageError(VqkitError):
    """Arguments that do not fit each other or the world; nothing was begun, exit status 2."""
