"""Image files in folders, in an order that does not depend on the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from vqkit.errors import MediaError
from vqkit.media.formats import has_image_suffix

__all__ = ["find_images", "walk_images"]


def find_images(path: str | os.PathLike[str], *, recursive: bool = True) -> list[Path]:
    """List the images in a folder, sorted by their path below it; a file gives itself.

    A folder is searched by file name endings, which is quick for a million files; a file that is
    named itself is listed whatever its name. Links to folders are followed and each folder is
    entered once, so a link in a circle does no harm. Names that begin with a dot are passed over.

    Args:
        path: a folder or a file.
        recursive: search the folders below as well.

    Returns:
        Paths that begin with ``path``; the same list on every machine and every locale.

    Raises:
        MediaError: there is no such path, or a folder may not be read.
    """
    root = Path(path)
    return sorted(
        walk_images(root, recursive=recursive), key=lambda file: file.relative_to(root).parts
    )


def walk_images(path: str | os.PathLike[str], *, recursive: bool = True) -> Iterator[Path]:
    """Yield what :func:`find_images` lists, folder by folder and in no order that is promised.

    For folders of more images than anybody wants in one list.

    Raises:
        MediaError: there is no such path, or a folder may not be read.
    """
    root = Path(path)
    if root.is_file():
        yield root
    elif root.exists():
        yield from (file for file in _walk(root, recursive) if has_image_suffix(file))
    else:
        raise MediaError(f"Cannot list the images in {str(path)!r}: there is no such path.")


def _walk(root: Path, recursive: bool) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise MediaError(f"Cannot list the images in {error.filename!r}: {error.strerror}.")

    entered: set[str] = set()
    for folder, subfolders, files in os.walk(root, onerror=stop, followlinks=True):
        real_folder = os.path.realpath(folder)
        # os.walk enters what is left in this list, in this order.
        if real_folder in entered or (entered and not recursive):
            subfolders.clear()
            continue
        entered.add(real_folder)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder, name) for name in files if not name.startswith("."))
