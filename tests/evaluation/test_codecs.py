"""Codec curves against writing the files by hand."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.stand_in import pictures
from vqkit.errors import ConfigError, MediaError
from vqkit.evaluation import codec_reference
from vqkit.metrics import psnr, round_to_eight_bits


@pytest.mark.parametrize(
    ("codec", "options"), [("jpeg", {"optimize": True}), ("webp", {"method": 6})]
)
def test_equals_files_written_by_hand(codec, options):
    images = [*pictures(2), *pictures(1, height=33, width=17)]
    curve = codec_reference(images, codec, [70, 20])
    assert [point.setting for point in curve.points] == [20, 70]
    assert (curve.name, curve.num_items) == (codec, 3)
    for point in curve.points:
        size_bytes, ratios = 0, []
        for _, image in images:
            levels = ((image + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(levels).save(file, codec, quality=point.setting, **options)
            size_bytes += len(file.getvalue())
            decoded = np.asarray(Image.open(file).convert("RGB")).copy()
            decoded = torch.from_numpy(decoded).permute(2, 0, 1) / 127.5 - 1
            ratios.append(psnr(decoded[None], round_to_eight_bits(image)[None]).item())
        assert point.rate == 8 * size_bytes / (2 * 40 * 52 + 33 * 17)
        assert point.metrics["psnr"].mean == pytest.approx(sum(ratios) / 3, rel=1e-12)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_more_bits_are_better(codec):
    points = codec_reference(pictures(2), codec, [1, 30, 60, 95]).points
    rates, means = zip(*((p.rate, p.metrics["psnr"].mean) for p in points), strict=True)
    assert list(rates) == sorted(rates)
    assert list(means) == sorted(means)
    assert means[-1] > means[0] + 3


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_grey_and_single_pixels(codec):
    images = [("grey", pictures(1)[0][1][:1]), ("pixel", torch.zeros(3, 1, 1))]
    assert codec_reference(images, codec, [90]).points[0].metrics["psnr"].mean > 25


@pytest.mark.parametrize(("codec", "qualities"), [("jpeg", [101]), ("webp", [-1])])
def test_impossible_settings(codec, qualities):
    with pytest.raises(ConfigError, match="from 0 to 100"):
        codec_reference(pictures(1), codec, qualities)


def test_no_image():
    with pytest.raises(ConfigError, match="at least one image"):
        codec_reference([])


def test_picture_beyond_the_format():
    with pytest.raises(MediaError, match=r"webp failed.*wide"):
        codec_reference([("wide", torch.zeros(3, 1, 20_000))], "webp", [50])


@pytest.mark.parametrize("shape", [(2, 8, 8), (3, 0, 8), (8, 8)])
def test_other_tensors(shape):
    with pytest.raises(MediaError, match="1 or 3"):
        codec_reference([("bad", torch.zeros(shape))])
