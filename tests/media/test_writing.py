import io
import stat

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media import image_size, read_image, write_image


def noise(channels: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (channels, height, width)) / 127.5 - 1


def written(image: torch.Tensor, **settings) -> bytes:
    file = io.BytesIO()
    write_image(image, file, **settings)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_survives_writing_and_reading(channels):
    levels = torch.arange(256.0).reshape(1, 16, 16).repeat(channels, 1, 1) / 127.5 - 1
    again = read_image(written(levels), channels=channels)
    assert torch.equal(again, levels)
    assert torch.equal(read_image(written(again), channels=channels), again)


def test_values_are_rounded_to_the_nearest_level_and_clamped():
    steps = torch.tensor([[[0.49, 0.51, 254.49, 254.51, -300.0, 500.0]]]) / 127.5 - 1
    with Image.open(io.BytesIO(written(steps))) as image:
        assert np.asarray(image).tolist() == [[0, 1, 254, 255, 0, 255]]


def test_one_channel_makes_a_grey_file():
    with Image.open(io.BytesIO(written(noise(1, 3, 4)))) as image:
        assert (image.mode, image.size) == ("L", (4, 3))
    with Image.open(io.BytesIO(written(noise(3, 3, 4)))) as image:
        assert (image.mode, image.size) == ("RGB", (4, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float(dtype):
    image = torch.zeros(3, 2, 2, dtype=dtype).requires_grad_()
    assert read_image(written(image)).abs().max() < 0.005


@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "tif", "bmp", "ppm", "PNG", "apng"])
def test_formats_without_loss(ending, tmp_path):
    image = noise(3, 7, 9)
    write_image(image, tmp_path / f"photo.{ending}")
    assert torch.equal(read_image(tmp_path / f"photo.{ending}"), image)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "webp", "avif"])
def test_quality_trades_size_for_likeness(ending, tmp_path):
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, 64), torch.linspace(0, 20, 64), indexing="ij"
    )
    image = torch.stack([rows, columns.sin(), rows * columns.cos()])
    errors, sizes = [], []
    for quality in (5, 90):
        path = tmp_path / f"{quality}.{ending}"
        write_image(image, path, quality=quality)
        errors.append((read_image(path) - image).abs().mean().item())
        sizes.append(path.stat().st_size)
    assert errors[1] < errors[0]
    assert sizes[1] > sizes[0]


def test_the_format_can_be_named_and_defaults_to_png(tmp_path):
    image = noise(3, 4, 4)
    write_image(image, tmp_path / "no_ending")
    write_image(image, tmp_path / "photo.dat", format="jpeg")
    assert (tmp_path / "no_ending").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "photo.dat").read_bytes().startswith(b"\xff\xd8")
    assert written(image, format="JPG").startswith(b"\xff\xd8")
    assert written(image, format=".ppm").startswith(b"P6")
    with pytest.raises(ConfigError, match=r"expected one of png, jpeg.*got 'dat'"):
        write_image(image, tmp_path / "other.dat")
    with pytest.raises(ConfigError, match="got 'gif'"):
        written(image, format="gif")


def test_quality_is_checked():
    for quality in (-1, 101):
        with pytest.raises(ConfigError, match=f"got {quality}"):
            written(noise(3, 2, 2), format="jpeg", quality=quality)
    with pytest.raises(ConfigError, match="PNG is lossless"):
        written(noise(3, 2, 2), quality=90)


def test_a_file_is_replaced_only_when_told(tmp_path):
    path = tmp_path / "photo.png"
    first, second = noise(3, 4, 4), noise(3, 5, 5)
    write_image(first, path)
    with pytest.raises(MediaError, match=r"photo\.png.*exists"):
        write_image(second, path)
    assert torch.equal(read_image(path), first)
    write_image(second, path, overwrite=True)
    assert torch.equal(read_image(path), second)
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.png"]


def test_nothing_is_left_behind_by_a_failure(tmp_path, monkeypatch):
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(MediaError, match="taken"):
        write_image(noise(3, 2, 2), target, overwrite=True, format="png")
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(MediaError, match=r"absent.*No such file"):
        write_image(noise(3, 2, 2), tmp_path / "absent" / "photo.png")

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    path = tmp_path / "photo.png"
    with pytest.raises(MediaError, match=r"photo\.png.*No space left"):
        write_image(noise(3, 2, 2), path)
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    write_image(noise(3, 2, 2), tmp_path / "photo.png")
    (tmp_path / "other").write_bytes(b"")
    modes = {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert len(modes) == 1


def test_long_names_are_no_problem(tmp_path):
    path = tmp_path / ("x" * 250 + ".png")
    write_image(noise(3, 2, 2), path)
    assert image_size(path) == (2, 2)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4, 4), (3, 0, 4), (1, 4, 0)])
def test_shapes_that_are_no_image(shape):
    with pytest.raises(ShapeError, match=r"expected \[1 or 3 channels"):
        written(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(value):
    image = torch.zeros(3, 4, 4)
    image[1, 2, 3] = value
    with pytest.raises(ShapeError, match="finite"):
        written(image)


def test_a_size_that_the_format_cannot_hold(tmp_path):
    image = torch.zeros(1, 1, 70_000)
    for ending in ("jpg", "webp"):
        with pytest.raises(MediaError, match=r"Cannot encode 70000 x 1 pixels"):
            write_image(image, tmp_path / f"wide.{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_extreme_sizes(size):
    image = noise(3, *size)
    assert torch.equal(read_image(written(image)), image)
