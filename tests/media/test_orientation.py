import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vqkit.media import image_size, read_image
from vqkit.media.orientation import exif_orientation, upright


def photo() -> Image.Image:
    """A picture whose corners and sides all differ."""
    rows = np.arange(48)[:, None] * 5
    columns = np.arange(32)[None] * 7
    return Image.fromarray(np.stack(np.broadcast_arrays(rows, columns, 200), -1).astype(np.uint8))


def with_orientation(orientation: int, pillow_format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    settings = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(pillow_format, {})
    photo().save(file, pillow_format, exif=exif, **settings)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pillow_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_is_applied_in_every_format(orientation, pillow_format):
    file = with_orientation(orientation, pillow_format)
    with Image.open(io.BytesIO(file)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    image = read_image(file)
    assert np.array_equal(((image + 1) * 127.5).round().permute(1, 2, 0).numpy(), expected)
    assert image_size(file) == tuple(image.shape[1:])
    assert image_size(file) == ((48, 32) if orientation < 5 else (32, 48))


def test_upright_puts_the_stored_corner_where_the_standard_says():
    # Row 0 and column 0 of the stored picture, as CIPA DC-008 table 9 names them.
    first_pixel = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("top", "left"),
        6: ("top", "right"),
        7: ("bottom", "right"),
        8: ("bottom", "left"),
    }
    stored = torch.zeros(1, 2, 3)
    stored[0, 0, 0] = 1
    stored[0, 0, 1] = 0.5  # the second pixel of the first row tells turns from mirrors
    for orientation, (row, column) in first_pixel.items():
        image = upright(stored, orientation)[0]
        y, x = (0 if row == "top" else -1), (0 if column == "left" else -1)
        assert image[y, x] == 1
        neighbour = (
            image[y, 1 if x == 0 else -2] if orientation < 5 else image[1 if y == 0 else -2, x]
        )
        assert neighbour == 0.5


@pytest.mark.parametrize("order", ["II", "MM"])
def test_exif_of_either_byte_order_with_and_without_its_prefix(order):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif[0x0112] = 8
    little = exif.tobytes()
    assert exif_orientation(little) == 8
    assert exif_orientation(little.removeprefix(b"Exif\0\0")) == 8
    exif.endian = ">"
    assert exif_orientation(exif.tobytes()) == 8


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert exif_orientation(exif.tobytes()) == 1


def test_damaged_exif_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = exif.tobytes()
    assert exif_orientation(whole) == 6
    for length in range(len(whole)):
        assert exif_orientation(whole[:length]) in (1, 6)
    generator = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[generator.integers(len(damaged))] = generator.integers(256)
        assert 1 <= exif_orientation(bytes(damaged)) <= 8
