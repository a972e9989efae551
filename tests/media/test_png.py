import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.media.png_encoder import ADAM7, chunk, encode, png_of_rows
from vqkit.errors import MediaError
from vqkit.media import image_size, read_image
from vqkit.media.png import decode_16_bit, read_header

ALL_FILTERS = (4, 3, 1, 2, 0)


def noise(height, width, bands, dtype=np.uint16):
    generator = np.random.default_rng(height * 1000 + width * 10 + bands)
    peak = np.iinfo(dtype).max
    samples = generator.integers(0, peak + 1, (height, width, bands), dtype=dtype)
    # Flat and extreme areas meet the ties and the overflows of the predictors.
    samples[: height // 3] = peak
    samples[:, : width // 4] = samples[:, :1]
    return samples


def decode(file: bytes):
    stream = io.BytesIO(file)
    return decode_16_bit(stream, read_header(stream))


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 5), (33, 20)])
def test_16_bits_are_kept_for_every_colour_type(bands, interlace, size):
    samples = noise(*size, bands)
    file = encode(samples, filters=ALL_FILTERS, interlace=interlace)
    assert np.array_equal(decode(file), samples)


@pytest.mark.parametrize("interlace", [False, True])
def test_pillow_agrees_on_what_it_can_read(interlace):
    grey = noise(33, 20, 1)
    file = encode(grey, filters=ALL_FILTERS, interlace=interlace)
    with Image.open(io.BytesIO(file)) as image:
        assert np.array_equal(np.asarray(image), decode(file)[..., 0])
    colour = noise(33, 20, 3)
    file = encode(colour, filters=ALL_FILTERS, interlace=interlace)
    with Image.open(io.BytesIO(file)) as image:
        assert np.array_equal(np.asarray(image), decode(file) >> 8)  # Pillow cuts to 8 bits


def test_torchvision_agrees_on_16_bit_colour():
    from torchvision.io import ImageReadMode, decode_image

    for bands in (1, 2, 3, 4):
        file = encode(noise(20, 31, bands), filters=ALL_FILTERS)
        expected = decode_image(
            torch.frombuffer(bytearray(file), dtype=torch.uint8), ImageReadMode.UNCHANGED
        )
        assert np.array_equal(decode(file), expected.permute(1, 2, 0).numpy())


def test_16_bit_values_are_scaled_by_65535():
    samples = np.array([[[0, 1, 65535]]], np.uint16)
    values = read_image(encode(samples)).flatten()
    assert values.tolist() == pytest.approx([-1, 2 / 65535 - 1, 1], abs=1e-7)
    assert values[0] == -1
    assert values[2] == 1


def test_a_16_bit_colour_key_makes_pixels_transparent():
    samples = np.array([[[9, 9, 9], [9, 9, 8]]], np.uint16)
    key = chunk(b"tRNS", struct.pack(">HHH", 9, 9, 9))
    image = read_image(encode(samples, key), alpha="white")
    assert image[:, 0, 0].tolist() == [1, 1, 1]
    assert image[:, 0, 1].max() < -0.99


def test_a_key_of_2_bit_grey_means_the_same_grey_as_the_pixels():
    # Pillow scales the pixels to 8 bits and forgets the key.
    rows = bytes([0, 0b00011011])
    key = chunk(b"tRNS", struct.pack(">H", 1))
    image = read_image(png_of_rows(4, 1, 2, 0, rows, key), channels=1, alpha="black")
    assert image.flatten().tolist() == pytest.approx([-1, -1, 2 * 170 / 255 - 1, 1])
    white = read_image(png_of_rows(4, 1, 2, 0, rows, key), channels=1, alpha="white")
    assert white.flatten().tolist() == pytest.approx([-1, 1, 2 * 170 / 255 - 1, 1])


@pytest.mark.parametrize(
    ("depth", "colour_type", "bits"), [(1, 0, 1), (2, 3, 2), (8, 2, 24), (8, 6, 32), (16, 2, 48)]
)
def test_missing_rows_are_an_error_and_never_black(depth, colour_type, bits):
    palette = chunk(b"PLTE", bytes(12))
    rows = b"".join(b"\0" + b"\1" * ((4 * bits + 7) // 8) for _ in range(4))
    whole = png_of_rows(4, 4, depth, colour_type, rows, palette)
    assert read_image(whole).shape == (3, 4, 4)
    # Pillow decodes the next file without complaint and leaves the last row zero.
    short = png_of_rows(4, 4, depth, colour_type, rows[:-2], palette)
    with pytest.raises(MediaError, match="ends before its last row"):
        read_image(short)


def test_missing_rows_of_an_interlaced_file_are_an_error():
    samples = noise(16, 16, 3, np.uint8)
    rows = b"".join(
        b"\0" + samples[y, left::dx].tobytes()
        for left, top, dx, dy in ADAM7
        for y in range(top, 16, dy)
    )
    assert read_image(png_of_rows(16, 16, 8, 2, rows, interlace=1)).shape == (3, 16, 16)
    with pytest.raises(MediaError, match="ends before its last row"):
        read_image(png_of_rows(16, 16, 8, 2, rows[:-1], interlace=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_flipped_bit_in_the_pixels_is_noticed(dtype):
    file = encode(noise(6, 6, 3, dtype))
    start = file.index(b"IDAT") + 4
    for position in range(start, len(file) - 12, 7):
        damaged = bytearray(file)
        damaged[position] ^= 16
        with pytest.raises(MediaError, match=r"checksum|damaged"):
            read_image(bytes(damaged))


@pytest.mark.parametrize(
    "header",
    [
        struct.pack(">IIBBBBB", 1, 1, 16, 3, 0, 0, 0),  # 16-bit palette
        struct.pack(">IIBBBBB", 1, 1, 16, 5, 0, 0, 0),  # unknown colour type
        struct.pack(">IIBBBBB", 1, 1, 16, 2, 1, 0, 0),  # unknown compression
        struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 2),  # unknown interlacing
        struct.pack(">IIBBBBB", 0, 1, 16, 2, 0, 0, 0),
        struct.pack(">IIBBBB", 1, 1, 16, 2, 0, 0),
    ],
)
def test_a_header_that_breaks_the_standard_is_an_error(header):
    pixels = chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    with pytest.raises(MediaError):
        read_image(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels)


def test_an_unknown_filter_is_an_error():
    with pytest.raises(MediaError, match="unknown filter"):
        read_image(png_of_rows(1, 1, 16, 0, b"\x05ab"))


def test_a_bomb_of_16_bits_is_not_inflated():
    bomb = png_of_rows(1, 1, 16, 0, bytes(50_000_000))
    assert len(bomb) < 100_000
    # One piece of the inflated data is more than the picture needs.
    assert read_image(bomb).shape == (3, 1, 1)
    with pytest.raises(MediaError, match="limit"):
        read_image(png_of_rows(1 << 15, 1 << 15, 16, 0, b""))


def test_orientation_is_found_behind_the_pixels():
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    file = encode(noise(3, 5, 3, np.uint8))
    late = file[:-12] + chunk(b"eXIf", exif) + file[-12:]
    assert image_size(file) == (3, 5)
    assert image_size(late) == (5, 3)
    assert read_image(late).shape == (3, 5, 3)
