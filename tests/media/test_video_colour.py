"""Colours of videos, against the standards' formulas written out one pixel at a time."""

import numpy as np
import pytest
import torch

from tests.media.video_files import by_ffmpeg
from vqkit.errors import MediaError
from vqkit.media import read_video, video_info
from vqkit.media.video_colour import Colour, halved, rgb_of_yuv, widened, yuv_of_rgb

WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def naive_rgb(y: float, cb: float, cr: float, matrix: str, is_full: bool, bits: int) -> list[float]:
    """Rec. ITU-T H.273, 8.3, and BT.709, 3: one pixel, R, G and B from -1 to 1."""
    red_weight, blue_weight = WEIGHTS[matrix]
    scale = 2 ** (bits - 8)
    if is_full:
        luma = y / (2**bits - 1)
        blue, red = ((c - 128 * scale) / (2**bits - 1) for c in (cb, cr))
    else:
        luma = (y - 16 * scale) / (219 * scale)
        blue, red = ((c - 128 * scale) / (224 * scale) for c in (cb, cr))
    r = luma + 2 * (1 - red_weight) * red
    b = luma + 2 * (1 - blue_weight) * blue
    g = (luma - red_weight * r - blue_weight * b) / (1 - red_weight - blue_weight)
    return [min(max(2 * value - 1, -1.0), 1.0) for value in (r, g, b)]


def random_planes(bits: int, height: int = 6, width: int = 10) -> list[np.ndarray]:
    random = np.random.default_rng(bits)
    kind = np.uint8 if bits == 8 else np.uint16
    return [random.integers(0, 2**bits, (height, width)).astype(kind) for _ in range(3)]


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("colour_range", ["limited", "full"])
@pytest.mark.parametrize("bits", [8, 10])
def test_the_formula(matrix, colour_range, bits):
    planes = random_planes(bits)
    tensors = [torch.from_numpy(plane.astype(np.float32)) for plane in planes]
    found = rgb_of_yuv(*tensors, Colour(matrix, colour_range, bits))
    for row in range(6):
        for column in range(10):
            numbers = [float(plane[row, column]) for plane in planes]
            expected = naive_rgb(*numbers, matrix, colour_range == "full", bits)
            assert found[:, row, column].tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020", "fcc", "smpte240m"])
@pytest.mark.parametrize("colour_range", ["limited", "full"])
def test_black_white_and_the_way_back(matrix, colour_range):
    colour = Colour(matrix, colour_range)
    rgb = torch.rand(3, 5, 7) * 2 - 1
    rgb[:, 0, 0], rgb[:, 0, 1] = -1, 1
    numbers = yuv_of_rgb(rgb, colour)
    ends = (16, 235) if colour_range == "limited" else (0, 255)
    assert (float(numbers[0][0, 0]), float(numbers[0][0, 1])) == ends
    assert float(numbers[1][0, 1]) == float(numbers[2][0, 0]) == 128
    again = rgb_of_yuv(*numbers, colour)
    assert again[:, 0, 0].tolist() == [-1, -1, -1]
    assert again[:, 0, 1].tolist() == [1, 1, 1]
    assert torch.allclose(again, rgb, atol=1e-5)


def test_ycgco_is_the_other_way_round():
    """H.273, equations 42 to 45 undone: Y = (R + 2 G + B) / 4, Cg = Y - (R + B) / 2 ..."""
    red, green, blue = rgb = torch.rand(3, 4, 4) * 2 - 1
    luma = green / 2 + (red + blue) / 4
    numbers = [
        (luma + 1) * 127.5,
        (green / 2 - (red + blue) / 4) * 127.5 + 128,
        (red - blue) / 2 * 127.5 + 128,
    ]
    assert torch.allclose(rgb_of_yuv(*numbers, Colour("ycgco", "full")), rgb, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 2), (5, 7)])
@pytest.mark.parametrize("shifts", [(0, 0), (1, 1), (0, 1), (1, 0), (0, 2)])
def test_colour_differences_are_interpolated_where_they_lie(size, shifts):
    """A column at a column of the picture, a row between two rows."""
    height, width = size
    rows, columns = -(-height // 2 ** shifts[0]), -(-width // 2 ** shifts[1])
    plane = torch.rand(rows, columns)
    found = widened(plane, height, width, shifts)
    assert found.shape == size

    def at(values, place):
        """Linear between whole places, the outer values beyond them."""
        place = min(max(place, 0.0), len(values) - 1.0)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        return values[low] + (place - low) * (values[high] - values[low])

    for y in range(height):
        for x in range(width):
            place = (y + 0.5) / 2 ** shifts[0] - 0.5
            by_row = [at([float(v) for v in line], x / 2 ** shifts[1]) for line in plane]
            assert float(found[y, x]) == pytest.approx(at(by_row, place), abs=1e-6)


def test_halving_takes_the_places_of_widening():
    ramp = torch.arange(16.0)[None].expand(6, 16) + 10 * torch.arange(6.0)[:, None]
    small = halved(ramp)
    assert small.shape == (3, 8)
    # In the middle of a ramp nothing is lost.
    assert torch.allclose(widened(small, 6, 16, (1, 1))[2:4, 2:14], ramp[2:4, 2:14])
    assert float(small[1, 3]) == float(ramp[2:4, 6].mean())


TAGS = {"bt601": 6, "bt709": 1, "bt2020": 9}


@pytest.mark.parametrize("matrix", TAGS)
@pytest.mark.parametrize("colour_range", ["limited", "full"])
def test_a_file_that_names_its_colours(matrix, colour_range):
    planes = random_planes(8)
    tags = (TAGS[matrix], 1 if colour_range == "limited" else 2)
    file = by_ffmpeg(
        [planes], container="matroska", encoding="ffv1", pixel_format="yuv444p", colour=tags
    )
    info = video_info(file)
    assert (info.colour_matrix, info.colour_range) == (matrix, colour_range)
    assert not info.has_assumed_matrix
    tensors = [torch.from_numpy(plane.astype(np.float32)) for plane in planes]
    expected = rgb_of_yuv(*tensors, Colour(matrix, colour_range))
    assert torch.equal(read_video(file).frames[:, 0], expected)
    grey = read_video(file, channels=1).frames[0, 0]
    ends = (16, 219) if colour_range == "limited" else (0, 255)
    assert torch.equal(grey, ((tensors[0] - ends[0]) / (ends[1] / 2) - 1).clamp(-1, 1))


@pytest.mark.parametrize(
    ("height", "width", "matrix"),
    [(64, 64, "bt601"), (576, 720, "bt601"), (577, 64, "bt709"), (64, 1280, "bt709")],
)
def test_a_file_that_does_not(height, width, matrix):
    planes = [np.full((height, width), level, np.uint8) for level in (120, 90, 170)]
    file = by_ffmpeg([planes], container="matroska", encoding="ffv1", pixel_format="yuv444p")
    info = video_info(file)
    assert (info.colour_matrix, info.colour_range) == (matrix, "limited")
    assert info.has_assumed_matrix
    expected = naive_rgb(120, 90, 170, matrix, False, 8)
    assert read_video(file).frames[:, 0, -1, -1].tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("bits", "layout"), [(10, "420"), (10, "444"), (12, "422")])
def test_deep_colours_keep_their_depth(bits, layout):
    rows, columns = {"444": (8, 12), "422": (8, 6), "420": (4, 6)}[layout]
    luma = (np.arange(96).reshape(8, 12) + (1 << (bits - 1))).astype(np.uint16)
    chroma = [np.full((rows, columns), (1 << (bits - 1)) + d, np.uint16) for d in (-5, 3)]
    file = by_ffmpeg(
        [[luma, *chroma]],
        container="matroska",
        encoding="ffv1",
        pixel_format=f"yuv{layout}p{bits}le",
        colour=(9, 1),
    )
    info = video_info(file)
    assert (info.bit_depth, info.colour_matrix) == (bits, "bt2020")
    frame = read_video(file).frames[:, 0]
    for place in range(96):
        expected = naive_rgb(
            float(luma.flat[place]), float(chroma[0].flat[0]), float(chroma[1].flat[0]),
            "bt2020", False, bits,
        )  # fmt: skip
        found = frame.reshape(3, -1)[:, place].tolist()
        assert found == pytest.approx(expected, abs=2e-6)
    assert len(frame[0].unique()) == 96, "no level is lost"


def test_other_ways_to_store_the_same():
    """What is not in planes, or is in another order, comes to the same colours."""
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (3, 6, 8)).astype(np.uint8)
    expected = torch.from_numpy(rgb.astype(np.float32)) / 127.5 - 1
    opacity = random.integers(0, 256, (6, 8)).astype(np.uint8)
    bgra = np.stack([*rgb[::-1], opacity], -1).reshape(6, -1)
    for name, planes in (
        ("bgr0", [bgra]),
        ("gbrp", [rgb[1], rgb[2], rgb[0]]),
    ):
        encoding = "ffv1" if name == "bgr0" else "utvideo"
        container = "matroska" if name == "bgr0" else "avi"
        file = by_ffmpeg([planes], container=container, encoding=encoding, pixel_format=name)
        assert torch.equal(read_video(file).frames[:, 0], expected), name
        assert video_info(file).colour_matrix == "rgb"
    file = by_ffmpeg([[bgra]], container="matroska", encoding="ffv1", pixel_format="bgra")
    assert video_info(file).has_alpha
    covered = torch.from_numpy(opacity.astype(np.float32)) / 255
    for alpha, level in (("white", 1), ("black", -1)):
        frame = read_video(file, alpha=alpha).frames[:, 0]
        assert torch.allclose(frame, expected * covered + level * (1 - covered), atol=1e-6)
    with pytest.raises(MediaError, match=r"the video <bytes>: it has transparent pixels"):
        read_video(file, alpha="refuse")
    grey = by_ffmpeg([[rgb[0]]], container="matroska", encoding="ffv1", pixel_format="gray")
    assert video_info(grey).channels == 1
    assert torch.equal(read_video(grey).frames[:, 0], expected[:1].expand(3, -1, -1))
    assert torch.equal(read_video(grey, channels=1).frames[:, 0], expected[:1])
    # The same numbers, interleaved two ways.
    yuv = [rgb[0], rgb[1][:, ::2].copy(), rgb[2][:, ::2].copy()]
    planar = by_ffmpeg([yuv], container="matroska", encoding="ffv1", pixel_format="yuv422p")
    packed = np.zeros((6, 16), np.uint8)
    packed[:, ::2], packed[:, 1::4], packed[:, 3::4] = yuv
    by_pairs = by_ffmpeg([[packed[:, :16]]], container="avi", encoding="rawvideo",
                         pixel_format="yuyv422", width=8)  # fmt: skip
    assert torch.equal(read_video(by_pairs).frames, read_video(planar).frames)
