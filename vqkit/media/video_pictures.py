"""Videos written as numbered pictures in a folder."""

import os
import re
import secrets
import shutil
from pathlib import Path

import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError
from vqkit.media.pixels import from_levels
from vqkit.media.targets import MediaTarget
from vqkit.media.writing import write_image

__all__ = ["PictureFolder"]

_PATTERN = re.compile(r"%(?:0\d+)?d")
_PICTURE_NAME = "frame_%06d.png"


class PictureFolder:
    """A folder of pictures in the making, which appears under its name when it is complete.

    Args:
        target: the folder, or a pattern of names in it.
        overwrite: replace a folder that holds nothing but pictures of these names.

    Raises:
        ConfigError: the target is a stream.
        MediaError: the folder holds something.
    """

    def __init__(self, target: MediaTarget, overwrite: bool):
        if not isinstance(target, (str, os.PathLike)):
            raise ConfigError("target of png: expected a folder, got a stream.")
        path = Path(target)
        has_pattern = _PATTERN.search(path.name) is not None
        self._folder = path.parent if has_pattern else path
        self._pattern = path.name if has_pattern else _PICTURE_NAME
        before, after = map(re.escape, _PATTERN.split(self._pattern, maxsplit=1))
        mine = re.compile(rf"{before}\d+{after}")
        found = [] if not self._folder.exists() else [*self._folder.iterdir()]
        if found and not (overwrite and all(mine.fullmatch(file.name) for file in found)):
            raise MediaError(
                f"Cannot write {str(self._folder)!r}: the folder holds files. Name another, or "
                "allow it with overwrite if they are pictures of these names."
            )
        self._temporary = self._beside()
        self._temporary.mkdir()
        self._num_written = 0

    def write(self, frame: Tensor, ticks: int, duration: int) -> None:
        """See :class:`FrameEncoder`."""
        values = from_levels(frame) if frame.dtype is torch.uint8 else frame
        write_image(values, self._temporary / (self._pattern % self._num_written), format="png")
        self._num_written += 1

    def close(self) -> None:
        """See :class:`FrameEncoder`."""
        replaced = self._beside()
        if self._folder.exists():
            self._folder.replace(replaced)
        self._temporary.replace(self._folder)
        shutil.rmtree(replaced, ignore_errors=True)

    def discard(self) -> None:
        """See :class:`FrameEncoder`."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _beside(self) -> Path:
        return self._folder.with_name(f".vqkit-{secrets.token_hex(8)}.part")
