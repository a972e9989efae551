"""Images read and written in strips: always the rows of the whole."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.media.png_encoder import ADAM7, chunk, png_of_rows
from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media import ImageReader, ImageWriter, read_image, write_image

SLOW = pytest.mark.slow


def photo(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """Smooth with some noise, so that every row filter has its use."""
    generator = torch.Generator().manual_seed(height)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    waves = torch.stack([torch.sin(x / (7 + c)) + torch.cos(y / 9) for c in range(channels)])
    noise = torch.rand(channels, height, width, generator=generator)
    return ((waves * 50 + 120 + 8 * noise).round().clamp(0, 255)) / 127.5 - 1


def saved(mode: str, **options) -> bytes:
    """A file of Pillow's in one of its modes."""
    levels = ((photo(37, 41) + 1) * 127.5).to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(levels)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(levels[:, :, 0]))
    image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


FILES = {
    "rgb": saved("RGB"),
    "rgba": saved("RGBA"),
    "grey": saved("L"),
    "grey and alpha": saved("LA"),
    "palette": saved("P"),
    "palette of 4 bits": saved("P", bits=4),
    "palette with a key": saved("P", transparency=3),
    "two levels": saved("1"),
    "rgb with a key": saved("RGB", transparency=(120, 121, 122)),
    "jpeg": saved("RGB", format="JPEG"),
    "tiff": saved("RGB", format="TIFF"),
    "webp": saved("RGBA", format="WEBP", lossless=True),
}
QUICK = ("rgb", "palette of 4 bits", "turned jpeg 6")
for orientation in (3, 6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    FILES[f"turned {orientation}"] = saved("RGB", exif=exif)
    FILES[f"turned jpeg {orientation}"] = saved("RGB", format="JPEG", exif=exif)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else SLOW) for n in FILES])
@pytest.mark.parametrize(
    "num_rows", [10, pytest.param(1, marks=SLOW), pytest.param(1000, marks=SLOW)]
)
def test_strips_joined_are_the_whole(name, num_rows, monkeypatch):
    monkeypatch.setattr("vqkit.media.image_reader._STRIP_PIXELS", 300)  # several for each file
    for channels in (1, 3):
        whole = read_image(FILES[name], channels=channels)
        with ImageReader(FILES[name], channels=channels) as reader:
            assert (reader.height, reader.width) == whole.shape[1:]
            strips = list(reader.strips(num_rows))
        assert torch.equal(torch.cat(strips, 1), whole)
        assert all(strip.shape[1] == num_rows for strip in strips[:-1])


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    moves=st.lists(st.tuples(st.integers(0, 37), st.integers(0, 12)), min_size=1, max_size=4),
)
def test_any_rows_in_any_order(name, moves):
    whole = read_image(FILES[name])
    with ImageReader(FILES[name], dtype=torch.uint8) as reader:
        for start, count in moves:
            stop = min(start + count, reader.height)
            rows = reader.rows(min(start, stop), stop)
            expected = whole[:, min(start, stop) : stop]
            assert torch.equal(rows, ((expected + 1) * 127.5).round().to(torch.uint8))


def test_rows_that_overlap_are_decoded_once(monkeypatch):
    from vqkit.media.png_strips import PngStrips

    monkeypatch.setattr("vqkit.media.image_reader._STRIP_PIXELS", 41 * 4)
    asked = []
    plain = PngStrips.read
    monkeypatch.setattr(PngStrips, "read", lambda self, n: asked.append(n) or plain(self, n))
    whole = read_image(FILES["rgb"])
    with ImageReader(FILES["rgb"]) as reader:
        for start in range(0, 28, 5):
            assert torch.equal(reader.rows(start, start + 9), whole[:, start : start + 9])
    assert sum(asked) == 36
    assert max(asked) == 4


def png_of(colour_type: int, bit_depth: int, interlaced: bool) -> bytes:
    """Any bytes are a picture, whatever the filters say."""
    random = np.random.default_rng(bit_depth)
    width, height, bands = 21, 17, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    rows = b""
    for left, top, across, down in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        columns = -(-(width - left) // across)
        for number in range(-(-(height - top) // down)):
            size = -(-columns * bands * bit_depth // 8)
            rows += bytes([number % 5]) + random.integers(0, 256, size, np.uint8).tobytes()
    palette = chunk(b"PLTE", random.integers(0, 256, 3 << bit_depth, np.uint8).tobytes())
    extra = [palette] if colour_type == 3 else []
    if colour_type == 0:
        extra.append(chunk(b"tRNS", bytes([0, 1])))
    return png_of_rows(
        width, height, bit_depth, colour_type, rows, *extra, interlace=int(interlaced)
    )


DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


@pytest.mark.parametrize("interlaced", [False, pytest.param(True, marks=SLOW)])
@pytest.mark.parametrize(
    ("colour_type", "bit_depth"),
    [
        pytest.param(kind, bits, marks=() if (kind, bits) in ((2, 8), (6, 16)) else SLOW)
        for kind, many in DEPTHS.items()
        for bits in many
    ],
)
def test_every_kind_of_png(colour_type, bit_depth, interlaced, monkeypatch):
    monkeypatch.setattr("vqkit.media.image_reader._STRIP_PIXELS", 60)
    file = png_of(colour_type, bit_depth, interlaced)
    with ImageReader(file) as reader:
        assert torch.equal(torch.cat(list(reader.strips(3)), 1), read_image(file))


def test_damage_is_an_error():
    file = FILES["rgb"]
    for length in (0, 20, 40, len(file) // 2, len(file) - 30):
        with (
            pytest.raises(MediaError, match="Cannot read the image <bytes>"),
            ImageReader(file[:length]) as reader,
        ):
            list(reader.strips(5))
    flipped = bytearray(file)
    flipped[len(file) // 2] ^= 4
    with (
        pytest.raises(MediaError, match="damaged or cut short"),
        ImageReader(bytes(flipped)) as reader,
    ):
        list(reader.strips(5))
    with pytest.raises(MediaError, match=r"more than the limit of 1000. Raise max_pixels"):
        ImageReader(file, max_pixels=1000)
    with pytest.raises(MediaError, match="more than the limit of 1000"):
        ImageReader(FILES["jpeg"], max_pixels=1000)
    with pytest.raises(MediaError, match="No such file"):
        ImageReader("missing.png")


def test_arguments(unchecked_shapes):
    for settings_ in ({"channels": 2}, {"alpha": "green"}, {"dtype": torch.int64}):
        with pytest.raises(ConfigError):
            ImageReader(FILES["rgb"], **settings_)
    reader = ImageReader(FILES["rgb"])
    for start, stop in ((-1, 4), (4, 3), (0, 38)):
        with pytest.raises(ConfigError, match="expected 0 <= start <= stop <= 37"):
            reader.rows(start, stop)
    with pytest.raises(ConfigError, match="1 or more, got 0"):
        next(reader.strips(0))
    assert reader.rows(3, 3).shape == (3, 0, 41)
    reader.close()
    reader.close()
    with pytest.raises(ConfigError, match="reader is closed"):
        reader.rows(0, 1)
    with (
        pytest.raises(MediaError, match="transparent pixels"),
        ImageReader(FILES["rgba"], alpha="refuse") as reader,
    ):
        reader.rows(0, 5)


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format",
    ["png", "jpeg", *(pytest.param(f, marks=SLOW) for f in ("webp", "tiff", "bmp", "ppm"))],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_strips_make_the_same_picture_as_the_whole(format, channels, tmp_path: Path):
    image = photo(37, 41, channels)
    write_image(image, tmp_path / f"whole.{format}")
    with ImageWriter(tmp_path / f"strips.{format}", 37, 41, channels=channels) as writer:
        for number, strip in enumerate(image.split(10, 1)):
            writer.write(strip if number % 2 else ((strip + 1) * 127.5).round().to(torch.uint8))
    whole, strips = (read_image(tmp_path / f"{name}.{format}") for name in ("whole", "strips"))
    assert torch.equal(whole, strips)
    sizes = [(tmp_path / f"{name}.{format}").stat().st_size for name in ("whole", "strips")]
    assert sizes[1] < 1.15 * sizes[0] + 50


def test_a_png_is_what_other_programs_read():
    for height, width in ((1, 1), (1, 700), (300, 1), (40, 33)):
        image = photo(height, width)
        file = io.BytesIO()
        with ImageWriter(file, height, width) as writer:
            writer.write(image)
        levels = np.asarray(Image.open(io.BytesIO(file.getvalue())))
        assert np.array_equal(levels, ((image + 1) * 127.5).round().permute(1, 2, 0).numpy())


def test_nothing_is_left_of_what_failed(tmp_path: Path):
    def fail(format: str, rows: torch.Tensor) -> None:
        with ImageWriter(tmp_path / f"a.{format}", 37, 41) as writer:
            writer.write(photo(37, 41)[:, :20])
            writer.write(rows)

    for format in ("png", "jpeg"):
        for rows in (torch.zeros(3, 18, 41), torch.zeros(1, 4, 41), torch.zeros(3, 4, 40)):
            with pytest.raises(ShapeError, match="rows to write: expected"):
                fail(format, rows)
        with pytest.raises(ShapeError, match="not finite"):
            fail(format, torch.full((3, 2, 41), float("nan")))
        with pytest.raises(MediaError, match="expected 37 rows, got 22"):
            fail(format, torch.zeros(3, 2, 41))
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.png").touch()
    with pytest.raises(MediaError, match="exists"):
        ImageWriter(tmp_path / "a.png", 3, 3)
    for settings_ in (
        {"height": 0},
        {"width": 0},
        {"channels": 2},
        {"format": "xyz"},
        {"quality": 9},
    ):
        sizes = {"height": 3, "width": 3, **settings_}
        with pytest.raises(ConfigError):
            ImageWriter(io.BytesIO(), **sizes)


_LARGE = """
import resource, sys, torch
from vqkit.media import ImageReader, ImageWriter
side, target = int(sys.argv[1]), sys.argv[2]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ramp = torch.arange(side, dtype=torch.int64)
with ImageWriter(target, side, side) as writer:
    for start in range(0, side, 256):
        rows = (ramp[None, :] // 3 + ramp[start : start + 256, None]) % 256
        writer.write(torch.stack([rows, 255 - rows, rows // 2]).to(torch.uint8))
with ImageReader(target, max_pixels=side * side, dtype=torch.uint8) as reader:
    assert (reader.height, reader.width) == (side, side)
    for number, strip in enumerate(reader.strips(256)):
        rows = (ramp[None, :] // 3 + ramp[256 * number : 256 * number + 256, None]) % 256
        assert torch.equal(strip[0], rows.to(torch.uint8))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_the_memory_of_a_large_picture_is_that_of_a_strip(tmp_path: Path):
    """48 million pixels: 192 MB as bytes in Pillow, 576 MB as floats."""
    result = subprocess.run(
        [sys.executable, "-c", _LARGE, "4000", str(tmp_path / "large.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(result.stdout) < 150_000_000
