import io
import logging

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, JpegImagePlugin

from vqkit.media import read_image


def levels(image):
    return ((image + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8).numpy()


def saved(image: Image.Image, pillow_format: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, pillow_format, **settings)
    return file.getvalue()


def flat(mode: str, *values: int) -> Image.Image:
    return Image.new(mode, (16, 16), values)


def swapped_profile() -> bytes:
    """An RGB profile whose red primary is sRGB's green, and green its red, named otherwise."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    entries = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = entries[b"rXYZ"] + 4, entries[b"gXYZ"] + 4
    profile[red : red + 8], profile[green : green + 8] = (
        profile[green : green + 8],
        profile[red : red + 8],
    )
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_a_profile_that_says_srgb_leaves_the_values_alone():
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = saved(Image.fromarray(values), "PNG", icc_profile=SRGB)
    assert np.array_equal(levels(read_image(file)), values)


@pytest.mark.parametrize("pillow_format", ["PNG", "TIFF"])
def test_another_profile_is_converted_to_srgb(pillow_format):
    file = saved(flat("RGB", 200, 100, 50), pillow_format, icc_profile=swapped_profile())
    assert levels(read_image(file))[0, 0] == pytest.approx([100, 200, 50], abs=2)


def test_the_profile_holds_below_transparency_and_palettes():
    profile = swapped_profile()
    with_alpha = saved(flat("RGBA", 200, 100, 50, 255), "PNG", icc_profile=profile)
    assert levels(read_image(with_alpha))[0, 0] == pytest.approx([100, 200, 50], abs=2)
    palette = saved(flat("RGB", 200, 100, 50).quantize(2), "PNG", icc_profile=profile)
    assert levels(read_image(palette))[0, 0] == pytest.approx([100, 200, 50], abs=2)


@pytest.mark.parametrize(
    ("mode", "profile"),
    [("RGB", b"no profile at all"), ("RGB", SRGB[:200]), ("L", swapped_profile())],
)
def test_a_profile_that_cannot_be_used_is_ignored_and_logged(mode, profile, caplog, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(saved(flat("RGB", 9, 9, 9).convert(mode), "PNG", icc_profile=profile))
    with caplog.at_level(logging.WARNING):
        assert (levels(read_image(path)) == 9).all()
    assert len(caplog.records) == 1
    assert "photo.png" in caplog.text
    assert "profile is ignored" in caplog.text


def test_cmyk_jpeg_as_adobe_writes_it():
    file = saved(flat("CMYK", 255, 0, 0, 51), "JPEG", quality=100)
    assert b"Adobe" in file
    assert levels(read_image(file))[0, 0] == pytest.approx([0, 204, 204], abs=2)


def test_cmyk_jpeg_without_the_adobe_marker_is_not_inverted():
    file = saved(flat("CMYK", 255, 0, 0, 51), "JPEG", quality=100)
    start = file.index(b"\xff\xee")
    length = int.from_bytes(file[start + 2 : start + 4], "big")
    plain = file[:start] + file[start + 2 + length :]
    assert JpegImagePlugin.JpegImageFile(io.BytesIO(plain)).mode == "CMYK"
    # The same bytes mean the opposite inks.
    assert levels(read_image(plain))[0, 0] == pytest.approx([204 * 0 + 51, 0, 0], abs=2)


def test_ycck_jpeg_is_cmyk_after_the_colour_transform():
    # Adobe's transform 2: the first three inks stand as YCbCr. Equal planes at 128 are a grey.
    file = bytearray(saved(flat("CMYK", 127, 127, 127, 0), "JPEG", quality=100))
    marker = file.index(b"Adobe")
    assert file[marker + 11] == 0
    file[marker + 11] = 2
    assert levels(read_image(bytes(file)))[0, 0] == pytest.approx([128, 128, 128], abs=2)


def test_cmyk_tiff_is_not_inverted():
    file = saved(flat("CMYK", 255, 0, 0, 51), "TIFF")
    assert levels(read_image(file))[0, 0] == pytest.approx([0, 204, 204], abs=1)


def test_ycbcr_tiff():
    grey = saved(flat("YCbCr", 90, 128, 128), "TIFF")
    assert levels(read_image(grey))[0, 0] == pytest.approx([90, 90, 90], abs=1)
