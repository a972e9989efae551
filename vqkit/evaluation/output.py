"""Files that an evaluation leaves in a folder, each whole or not there."""

import os
from pathlib import Path

from vqkit.errors import ConfigError
from vqkit.files.atomic import write_atomically

__all__ = ["write_output"]


def write_output(folder: str | os.PathLike[str], name: str, data: bytes) -> Path:
    """Write a file into a folder, made if need be, over an older one; return its path.

    Raises:
        VqkitError: the file system refuses.
    """
    path = Path(folder) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Writing {name} failed: expected a folder that can be made, got {error.strerror} "
            f"({folder}). Choose another folder."
        ) from error
    write_atomically(path, data, overwrite=True, check=lambda written: None)
    return path
