"""Media files <-> plain tensors in [-1, 1].

Example:
    >>> import io, torch
    >>> file = io.BytesIO()
    >>> write_image(torch.ones(3, 4, 5), file)
    >>> read_image(file.getvalue()).shape
    torch.Size([3, 4, 5])
"""

from vqkit.media.finding import find_images, walk_images
from vqkit.media.formats import IMAGE_SUFFIXES, has_image_suffix
from vqkit.media.pixels import Alpha, tensor_from_pillow
from vqkit.media.reading import MAX_PIXELS, ImageFileSource, image_size, is_image, read_image
from vqkit.media.writing import write_image

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Alpha",
    "ImageFileSource",
    "find_images",
    "has_image_suffix",
    "image_size",
    "is_image",
    "read_image",
    "tensor_from_pillow",
    "walk_images",
    "write_image",
]
