"""Images that lie in files: folders, lists, any paths."""

import os
from collections.abc import Sequence

from torch import Tensor

from vqkit.data.files import ItemCache, check_some, files_in_folders, files_of_list
from vqkit.data.source import ImageSource
from vqkit.media import Alpha, find_images, read_image
from vqkit.shapes import Float

__all__ = ["ImageFileList", "ImageFiles", "ImageFolder"]


class ImageFiles(ImageSource):
    """The images in these files, in this order.

    Args:
        paths: the files.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels (``vqkit.media.read_image``).
        cache_size_bytes: keep decoded images in memory until they take this much (each worker
            process keeps its own). Worth it where many crops are taken from few photographs.

    Raises:
        MediaError: there are no files.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        channels: int = 3,
        alpha: Alpha = "white",
        cache_size_bytes: int = 0,
    ) -> None:
        check_some(paths, self.kind)
        super().__init__(len(paths))
        self.paths = paths
        self.channels = channels
        self.alpha = alpha
        self.cache_size_bytes = cache_size_bytes
        self._cache = ItemCache(cache_size_bytes)

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self.paths[index])

    def load(self, index: int) -> Float[Tensor, "channels height width"]:
        """Read and decode the file, or give what an earlier reading kept."""
        image = self._cache.get(index)
        if image is None:
            image = read_image(self.paths[index], channels=self.channels, alpha=self.alpha)
            self._cache.offer(index, image)
        return image


class ImageFolder(ImageFiles):
    """All images below one or several folders, sorted by path (``vqkit.media.find_images``).

    Classes are not asked for: a folder of folders is one set.

    Args:
        path: a folder, or several.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.
        recursive: search the folders below as well.
        cache_size_bytes: keep decoded images in memory until they take this much.

    Raises:
        MediaError: a folder does not exist or holds no images.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        channels: int = 3,
        alpha: Alpha = "white",
        recursive: bool = True,
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        self.recursive = recursive
        paths = files_in_folders(path, find_images, self.kind, recursive=recursive)
        super().__init__(paths, channels=channels, alpha=alpha, cache_size_bytes=cache_size_bytes)


class ImageFileList(ImageFiles):
    """The images named in a text file, one path per line.

    A path is absolute or relative to the list. Empty lines and lines that begin with ``#`` say
    nothing. Whether a file exists is found out when it is read.

    Args:
        path: the list, UTF-8.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.
        cache_size_bytes: keep decoded images in memory until they take this much.

    Raises:
        ConfigError: the list cannot be read or is no text.
        MediaError: the list names no files.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        channels: int = 3,
        alpha: Alpha = "white",
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        super().__init__(
            files_of_list(path, self.kind),
            channels=channels,
            alpha=alpha,
            cache_size_bytes=cache_size_bytes,
        )
