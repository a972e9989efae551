import io
import logging
import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from tests.media.png_encoder import chunk, encode, png_of_rows
from vqkit.errors import ConfigError, MediaError
from vqkit.media import image_size, is_image, read_image, tensor_from_pillow


def saved(image: Image.Image, pillow_format: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, pillow_format, **settings)
    return file.getvalue()


def levels(image):
    return ((image + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8).numpy()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int, width: int) -> Image.Image:
    """A picture that a lossy format can hold, and that is grey nowhere."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [60 + 150 * rows / height, 200 - 150 * columns / width, 20 + 0 * rows]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


# Values


def test_rgb_values_are_exact():
    values = noise(9, 11, 3)
    image = read_image(saved(Image.fromarray(values)))
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    expected = torch.tensor(values).permute(2, 0, 1).double() * 2 / 255 - 1
    assert torch.allclose(image.double(), expected, atol=1e-7, rtol=0)


def test_black_and_white_are_exactly_minus_one_and_one():
    ramp = np.arange(256, dtype=np.uint8)[None]
    image = read_image(saved(Image.fromarray(ramp)), channels=1).flatten()
    assert image[0] == -1
    assert image[255] == 1
    assert (image.diff() > 0).all()


def test_grey_is_repeated_and_kept():
    values = noise(5, 7)
    file = saved(Image.fromarray(values))
    grey = read_image(file, channels=1)
    assert grey.shape == (1, 5, 7)
    assert torch.equal(read_image(file), grey.expand(3, -1, -1))


def test_colour_becomes_grey_by_bt_601():
    values = noise(20, 20, 3)
    grey = read_image(saved(Image.fromarray(values)), channels=1)
    expected = values.astype(np.float64) @ [0.299, 0.587, 0.114] / 127.5 - 1
    assert np.allclose(grey[0].numpy(), expected, atol=1e-6)


def test_grey_stored_as_colour_gives_the_very_same_grey():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    as_colour = read_image(saved(Image.fromarray(ramp)), channels=1)
    as_grey = read_image(saved(Image.fromarray(ramp[..., 0])), channels=1)
    assert torch.equal(as_colour, as_grey)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2, 3)])
@pytest.mark.parametrize("pillow_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_any_size(size, pillow_format):
    values = noise(*size, 3)
    file = saved(Image.fromarray(values), pillow_format)
    assert image_size(file) == size
    assert np.array_equal(levels(read_image(file)), values)


@pytest.mark.parametrize("pillow_format", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_formats_that_lose_something(pillow_format):
    picture = smooth(31, 47)
    file = saved(picture, pillow_format)
    with Image.open(io.BytesIO(file)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(levels(read_image(file)), expected)
    assert image_size(file) == (31, 47)
    assert np.abs(expected.astype(int) - np.asarray(picture).astype(int)).mean() < 12


def test_one_bit():
    bits = noise(9, 13) > 127
    for pillow_format in ("PNG", "TIFF", "PPM", "BMP"):
        file = saved(Image.fromarray(bits), pillow_format)
        assert np.array_equal(levels(read_image(file, channels=1))[..., 0], bits * np.uint8(255))


# Transparency


@pytest.mark.parametrize(("alpha", "background"), [("white", 1.0), ("black", -1.0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_is_laid_over_the_background(alpha, background, mode, dtype):
    peak = np.iinfo(dtype).max
    samples = noise(8, 9, len(mode)).astype(dtype) * (peak // 255)
    samples[0, :, -1], samples[1, :, -1] = 0, peak
    image = read_image(encode(samples), alpha=alpha)
    colour = samples[..., :-1] / (peak / 2) - 1
    weight = samples[..., -1:] / peak
    expected = colour * weight + background * (1 - weight)
    assert np.allclose(image.permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert (image[:, 0] == background).all()
    assert torch.equal(image[:, 1], read_image(encode(samples[..., :-1]))[:, 1])


def test_palette_with_and_without_transparency():
    picture = Image.fromarray(noise(10, 10, 3)).quantize(8)
    expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(levels(read_image(saved(picture))), expected)
    hidden = np.asarray(picture) == 3
    one_entry = read_image(saved(picture, transparency=3), alpha="black")
    assert np.array_equal(levels(one_entry), np.where(hidden[..., None], 0, expected))
    half = bytes([255] * 3 + [128])
    several = levels(read_image(saved(picture, transparency=half), alpha="black"))
    assert np.array_equal(several[~hidden], expected[~hidden])
    assert np.abs(several[hidden] - expected[hidden] * (128 / 255)).max() <= 0.51
    gif = saved(picture, "GIF", transparency=3)
    assert (read_image(gif, alpha="white")[:, torch.tensor(hidden)] == 1).all()


def test_a_colour_key_is_transparency():
    values = noise(6, 6, 3)
    values[2, 3] = (1, 2, 3)
    file = saved(Image.fromarray(values), transparency=(1, 2, 3))
    assert (read_image(file, alpha="white")[:, 2, 3] == 1).all()
    grey = Image.fromarray(np.array([[7, 8]], np.uint8))
    assert levels(read_image(saved(grey, transparency=7)))[0, :, 0].tolist() == [255, 8]
    bit = Image.fromarray(np.array([[False, True]]))
    assert levels(read_image(saved(bit, transparency=0)))[0, :, 0].tolist() == [255, 255]


def test_transparency_can_be_refused(tmp_path):
    path = tmp_path / "logo.png"
    path.write_bytes(saved(Image.new("RGBA", (4, 4), (9, 9, 9, 254))))
    with pytest.raises(MediaError, match=r"logo\.png.*transparent"):
        read_image(path, alpha="refuse")
    # An alpha band that hides nothing is no loss.
    opaque = saved(Image.new("RGBA", (4, 4), (9, 9, 9, 255)))
    assert (levels(read_image(opaque, alpha="refuse")) == 9).all()


# More than 8 bits


@pytest.mark.parametrize("pillow_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_values(pillow_format):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    file = saved(Image.fromarray(values), pillow_format)
    image = read_image(file, channels=1)[0].double().numpy()
    assert np.abs(image - (values * 2.0 / 65535 - 1)).max() < 1e-7
    assert image.min() == -1
    assert image.max() == 1


def tiff(width: int, height: int, bits: tuple[int, ...], pixels: bytes, **tags: int) -> bytes:
    """A TIFF without compression, little-endian."""
    numbers = {"photometric": 262, "extra_samples": 338, "sample_format": 339}
    data_at = 8
    bits_at = data_at + len(pixels)
    bits_data = struct.pack(f"<{len(bits)}H", *bits)
    entries = {256: (4, 1, width), 257: (4, 1, height), 259: (3, 1, 1)}
    entries[258] = (3, len(bits), bits[0] if len(bits) == 1 else bits_at)
    entries |= {273: (4, 1, data_at), 277: (3, 1, len(bits)), 278: (4, 1, height)}
    entries[279] = (4, 1, len(pixels))
    entries |= {numbers[name]: (3, 1, value) for name, value in tags.items()}
    directory = struct.pack("<H", len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        directory += struct.pack("<HHII", tag, kind, count, value)
    start = bits_at + len(bits_data)
    return b"II*\0" + struct.pack("<I", start) + pixels + bits_data + directory + bytes(4)


def test_16_bit_tiff_where_white_is_zero():
    pixels = np.array([0, 65535, 13107], "<u2").tobytes()
    black_is_zero = read_image(tiff(3, 1, (16,), pixels, photometric=1), channels=1)
    assert black_is_zero.flatten().tolist() == pytest.approx([-1, 1, -0.6])
    white_is_zero = read_image(tiff(3, 1, (16,), pixels, photometric=0), channels=1)
    assert white_is_zero.flatten().tolist() == pytest.approx([1, -1, 0.6])


def test_premultiplied_tiff():
    pixels = bytes([100, 50, 0, 128]) * 4
    file = tiff(2, 2, (8, 8, 8, 8), pixels, photometric=2, extra_samples=1)
    # Premultiplied by 128 / 255: over black the stored values come back.
    assert levels(read_image(file, alpha="black"))[0, 0] == pytest.approx([100, 50, 0], abs=1)
    plain = tiff(2, 2, (8, 8, 8, 8), pixels, photometric=2, extra_samples=2)
    assert levels(read_image(plain, alpha="black"))[0, 0] == pytest.approx([50, 25, 0], abs=1)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (tiff(2, 1, (16, 16, 16), bytes(12), photometric=2), "16-bit colour"),
        (b"P6 1 1 65535\n" + bytes(6), "16-bit colour"),
        (b"P3 1 1 1000 1 2 3", "16-bit colour"),
        (tiff(2, 1, (12,), bytes(3), photometric=1), "12 bits"),
        (tiff(2, 1, (16,), bytes(4), photometric=1, sample_format=2), "mode 'I'"),
        (tiff(2, 1, (32,), bytes(8), photometric=1), "mode 'I'"),
        (saved(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "mode 'F'"),
        (saved(Image.new("LAB", (2, 2)), "TIFF"), "mode 'LAB'"),
    ],
)
def test_what_has_no_known_range_is_refused(file, reason):
    with pytest.raises(MediaError, match=reason):
        read_image(file)


def test_pgm_of_an_odd_range_is_scaled_to_it():
    assert read_image(b"P2 3 1 1000 0 500 1000", channels=1).flatten().tolist() == pytest.approx(
        [-1, 0, 1], abs=1e-4
    )


# Several frames


@pytest.mark.parametrize("pillow_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_of_several_frames_is_read_and_logged(pillow_format, tmp_path, caplog):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("#c80000", "#00c800", "#0000c8")]
    path = tmp_path / "moving"
    settings = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(pillow_format, {})
    path.write_bytes(
        saved(frames[0], pillow_format, save_all=True, append_images=frames[1:], **settings)
    )
    with caplog.at_level(logging.WARNING):
        image = levels(read_image(path))
    assert np.abs(image.astype(int) - [200, 0, 0]).max() <= 3
    assert len(caplog.records) == 1
    assert "moving" in caplog.text
    caplog.clear()
    read_image(saved(frames[0], pillow_format, **settings))
    assert not caplog.records


# Sources


def test_path_bytes_and_streams_give_the_same(tmp_path):
    file = saved(Image.fromarray(noise(5, 6, 3)))
    path = tmp_path / "no ending"
    path.write_bytes(file)
    expected = read_image(file)
    assert torch.equal(read_image(path), expected)
    assert torch.equal(read_image(str(path)), expected)
    with path.open("rb") as stream:
        assert torch.equal(read_image(stream), expected)
    stream = io.BytesIO(b"something before" + file)
    stream.seek(16)
    assert torch.equal(read_image(stream), expected)
    stream.seek(16)
    assert image_size(stream) == (5, 6)


def test_a_pipe_can_be_read(tmp_path):
    file = saved(smooth(300, 200), "TIFF")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(file,))
    writer.start()
    assert torch.equal(read_image(pipe), read_image(file))
    writer.join()


def test_the_ending_of_a_name_decides_nothing(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encode(noise(3, 4, 3)))
    assert is_image(path)
    assert image_size(path) == (3, 4)


# Failures


def test_what_is_no_image_names_the_file_and_the_reason(tmp_path):
    cases = {
        "empty.png": (b"", "empty"),
        "text.jpg": (b"hello world", "got something else"),
        "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported"),
        "only_magic.png": (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        "only_magic.jpg": (b"\xff\xd8\xff\xe0", "damaged or cut short"),
    }
    for name, (content, reason) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        for read in (read_image, image_size):
            with pytest.raises(MediaError, match=rf"{name}'.*{reason}"):
                read(path)


def test_paths_that_cannot_be_opened(tmp_path):
    with pytest.raises(MediaError, match=r"absent\.png'.*No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(MediaError, match="Is a directory"):
        read_image(tmp_path)
    assert not is_image(tmp_path)
    assert not is_image(tmp_path / "absent.png")


def test_unknown_options_are_configuration_errors():
    file = saved(Image.new("L", (1, 1)))
    for channels in (0, 2, 4):
        with pytest.raises(ConfigError, match=f"got {channels}"):
            read_image(file, channels=channels)


@pytest.mark.parametrize(
    ("pillow_format", "settings"),
    [
        ("JPEG", {"quality": 90}),
        ("JPEG", {"quality": 90, "progressive": True}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 80}),
        ("AVIF", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
        ("PPM", {}),
    ],
)
def test_a_truncated_file_is_an_error_or_the_whole_picture(pillow_format, settings):
    file = saved(smooth(61, 83), pillow_format, **settings)
    whole = read_image(file)
    failures = 0
    cuts = {*range(0, len(file), max(1, len(file) // 60)), *range(len(file) - 24, len(file))}
    for cut in sorted(cuts):
        try:
            image = read_image(file[:cut])
        except MediaError:
            failures += 1
        else:
            assert torch.equal(image, whole), f"{cut} of {len(file)} bytes gave another picture"
    assert failures >= 50


def test_16_bit_png_cut_anywhere():
    file = encode(noise(20, 20, 3).astype(np.uint16) * 257)
    whole = read_image(file)
    for cut in range(0, len(file), 31):
        try:
            assert torch.equal(read_image(file[:cut]), whole)
        except MediaError:
            continue


def test_random_damage_gives_a_picture_of_the_right_shape_or_an_error():
    generator = np.random.default_rng(1)
    files = [
        saved(smooth(20, 24), pillow_format)
        for pillow_format in ("JPEG", "PNG", "GIF", "BMP", "WEBP")
    ] + [encode(noise(12, 9, 3).astype(np.uint16), filters=(4, 3, 2))]
    for file in files:
        for _ in range(60):
            damaged = bytearray(file)
            for _ in range(generator.integers(1, 4)):
                damaged[generator.integers(len(file))] = generator.integers(256)
            try:
                image = read_image(bytes(damaged), max_pixels=1 << 20)
            except MediaError:
                continue
            assert image.shape[0] == 3
            assert image.abs().max() <= 1


# Limits and globals


def test_the_pixel_limit_holds_before_anything_is_decoded():
    file = saved(Image.new("1", (3000, 2000)))
    assert read_image(file, max_pixels=6_000_000, channels=1).shape == (1, 2000, 3000)
    with pytest.raises(MediaError, match=r"3000 x 2000 pixels .* limit of 5999999"):
        read_image(file, max_pixels=5_999_999)
    assert image_size(file) == (2000, 3000)


def gif_header(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(3)


@pytest.mark.parametrize(
    "bomb",
    [
        png_of_rows(1 << 30, 1 << 30, 8, 2, b""),
        png_of_rows(60_000, 60_000, 1, 0, bytes(100)),
        b"P4 60000 60000\n",
        gif_header(60_000, 60_000) + b"," + bytes(4) + b"`\xea`\xea" + b"\0\2\0;",
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60_000, 60_000, 1, 24, 0) + bytes(20),
        tiff(60_000, 60_000, (8,), bytes(9), photometric=1),
    ],
)
def test_a_decompression_bomb_is_refused_at_once(bomb):
    with pytest.raises(MediaError, match="limit"):
        read_image(bomb)


def test_between_the_limits_of_pillow_and_ours_there_is_no_warning():
    # 100 million pixels: Pillow.Image.open would warn, and warnings are errors here.
    side = 10_000
    file = png_of_rows(side, side, 1, 0, bytes(10))
    assert image_size(file) == (side, side)
    with pytest.raises(MediaError, match="ends before its last row"):
        read_image(file)


def test_pillows_globals_are_left_alone_and_threads_agree():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    files = [
        saved(smooth(64, 64), "JPEG"),
        saved(smooth(64, 64), "WEBP"),
        encode(noise(16, 16, 3).astype(np.uint16)),
        saved(smooth(64, 64), "TIFF", compression="tiff_lzw"),
        saved(smooth(64, 64), "JPEG")[:-300],
    ]

    def outcome(file):
        try:
            return read_image(file)
        except MediaError as error:
            return str(error)

    expected = [outcome(file) for file in files] * 20
    assert isinstance(expected[-1], str)
    with ThreadPoolExecutor(8) as pool:
        for mine, theirs in zip(expected, pool.map(outcome, files * 20), strict=True):
            assert mine == theirs if isinstance(mine, str) else torch.equal(mine, theirs)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_tensor_from_pillow():
    values = noise(4, 5, 3)
    assert np.array_equal(levels(tensor_from_pillow(Image.fromarray(values))), values)
    assert tensor_from_pillow(Image.fromarray(values[..., 0]), channels=1).shape == (1, 4, 5)
    with pytest.raises(MediaError, match="mode 'F'"):
        tensor_from_pillow(Image.new("F", (2, 2)))
    with pytest.raises(ConfigError):
        tensor_from_pillow(Image.new("L", (2, 2)), channels=4)


def test_an_unknown_chunk_does_not_matter():
    file = encode(noise(3, 3, 3), chunk(b"abCd", b"what is this"))
    assert image_size(file) == (3, 3)
    assert read_image(file).shape == (3, 3, 3)


# Real files


@pytest.mark.parametrize(
    ("pattern", "least"), [("misc/*.avif", 3), ("misc/*.jpg", 6), ("kodak/*.png", 16)]
)
def test_real_photographs_are_read_as_pillow_reads_them(development_media, pattern, least):
    paths = sorted((development_media / "images").glob(pattern))
    assert len(paths) >= least
    for path in paths[:6]:
        image = read_image(path)
        with Image.open(path) as reference:
            expected = np.asarray(reference.convert("RGB"))
        assert np.array_equal(levels(image), expected)
        assert image_size(path) == tuple(image.shape[1:])
