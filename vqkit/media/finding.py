"""Media files in folders, in an order that does not depend on the machine."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vqkit.errors import MediaError
from vqkit.media.audio_formats import has_audio_suffix
from vqkit.media.formats import has_image_suffix
from vqkit.media.gif import num_gif_pictures
from vqkit.media.video_formats import has_video_suffix

__all__ = [
    "find_audio",
    "find_images",
    "find_videos",
    "walk_audio",
    "walk_images",
    "walk_videos",
]


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
    return _sorted(walk_images(path, recursive=recursive), path)


def find_audio(path: str | os.PathLike[str], *, recursive: bool = True) -> list[Path]:
    """List the audio files in a folder as :func:`find_images` lists images.

    Videos are found as well where their ending is one of ``AUDIO_SUFFIXES``; whether they have
    sound is seen when they are read.

    Raises:
        MediaError: there is no such path, or a folder may not be read.
    """
    return _sorted(walk_audio(path, recursive=recursive), path)


def walk_images(path: str | os.PathLike[str], *, recursive: bool = True) -> Iterator[Path]:
    """Yield what :func:`find_images` lists, folder by folder and in no order that is promised.

    For folders of more images than anybody wants in one list.

    Raises:
        MediaError: there is no such path, or a folder may not be read.
    """
    return _walk(Path(path), "images", has_image_suffix, recursive)


def walk_audio(path: str | os.PathLike[str], *, recursive: bool = True) -> Iterator[Path]:
    """Yield what :func:`find_audio` lists, folder by folder and in no order that is promised.

    Raises:
        MediaError: there is no such path, or a folder may not be read.
    """
    return _walk(Path(path), "audio files", has_audio_suffix, recursive)


def find_videos(path: str | os.PathLike[str], *, recursive: bool = True) -> list[Path]:
    """List the videos in a folder as :func:`find_images` lists images.

    By their endings (``VIDEO_SUFFIXES``) but for GIF, of which those with several pictures count.

    Raises:
        MediaError: there is no such path, or a folder may not be read.
    """
    return _sorted(walk_videos(path, recursive=recursive), path)


def walk_videos(path: str | os.PathLike[str], *, recursive: bool = True) -> Iterator[Path]:
    """Yield what :func:`find_videos` lists, folder by folder and in no order that is promised.

    Raises:
        MediaError: there is no such path, or a folder may not be read.
    """
    return _walk(Path(path), "videos", _is_named_as_video, recursive)


def _is_named_as_video(path: Path) -> bool:
    if not has_video_suffix(path):
        return False
    if not has_image_suffix(path):
        return True
    try:
        with path.open("rb") as file:
            return num_gif_pictures(file) > 1
    except OSError:
        return True  # reading it will say what is wrong


def _sorted(files: Iterator[Path], root: str | os.PathLike[str]) -> list[Path]:
    return sorted(files, key=lambda file: file.relative_to(root).parts)


def _walk(
    root: Path, kind: str, is_wanted: Callable[[Path], bool], recursive: bool
) -> Iterator[Path]:
    if root.is_file():
        yield root
    elif root.exists():
        yield from (file for file in _files_below(root, kind, recursive) if is_wanted(file))
    else:
        raise MediaError(f"Cannot list the {kind} in {str(root)!r}: there is no such path.")


def _files_below(root: Path, kind: str, recursive: bool) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise MediaError(f"Cannot list the {kind} in {error.filename!r}: {error.strerror}.")

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
