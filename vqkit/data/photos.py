"""The photographs inside scikit-image: real pictures without a download."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from vqkit.data.image_files import ImageFiles
from vqkit.errors import ConfigError, MissingExtraError

__all__ = ["HELD_OUT_PHOTOS", "TRAINING_PHOTOS", "Photos"]

TRAINING_PHOTOS = (
    "astronaut",
    "coffee",
    "rocket",
    "motorcycle_left",
    "hubble_deep_field",
    "ihc",
    "retina",
    "brick",
    "camera",
    "coins",
    "grass",
    "gravel",
    "moon",
)
"""Portrait, still life, launch, workshop, galaxies, tissue, eye; from ``brick`` on in grey."""

HELD_OUT_PHOTOS = ("chelsea",)
"""A cat, never trained on."""

_FILES = {
    "hubble_deep_field": "hubble_deep_field.jpg",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}


class Photos(ImageFiles):
    """Photographs that come inside scikit-image's wheel; scikit-image itself is not imported.

    Args:
        names: which, of ``TRAINING_PHOTOS`` and ``HELD_OUT_PHOTOS``.
        channels: 1 for grey, 3 for colour.
        cache_size_bytes: decoded photos kept in memory; all of them take 85 MB.

    Raises:
        ConfigError: there is no photograph of this name.
        MissingExtraError: scikit-image, or the file in it, is not installed.

    Example:
        >>> photos = Photos(["chelsea"])
        >>> [(name, tuple(image.shape)) for name, image in photos.items()]
        [('chelsea', (3, 300, 451))]
    """

    def __init__(
        self,
        names: Sequence[str] = TRAINING_PHOTOS,
        *,
        channels: int = 3,
        cache_size_bytes: int = 1 << 28,
    ) -> None:
        self.names = names
        known = (*TRAINING_PHOTOS, *HELD_OUT_PHOTOS)
        for name in names:
            if name not in known:
                raise ConfigError(f"name of a photograph: expected one of {known}, got {name!r}.")
        folder = _folder()
        paths = [folder / _FILES.get(name, f"{name}.png") for name in names]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise MissingExtraError(
                f"This installation of scikit-image lacks {', '.join(missing)}. "
                "Install the package from its wheel: pip install scikit-image."
            )
        super().__init__(paths, channels=channels, cache_size_bytes=cache_size_bytes)

    def name(self, index: int) -> str:
        """The photograph's name in ``skimage.data``."""
        return self.names[index]


def _folder() -> Path:
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise MissingExtraError(
            "The example photographs need scikit-image: pip install scikit-image."
        )
    return Path(package.submodule_search_locations[0], "data")
