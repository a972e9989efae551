"""The pictures of a report: written, small, and showing what they should."""

import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.stand_in import BlockMeans, pictures
from vqkit.errors import ConfigError
from vqkit.evaluation import (
    Report,
    codec_reference,
    evaluate,
    rate_quality_figure,
    reconstruction_figure,
    save_pictures,
    usage_figure,
)
from vqkit.evaluation.drawing import png, printable
from vqkit.evaluation.reconstruction import reconstruction_png
from vqkit.metrics import CodeHistogram, codebook_level
from vqkit.metrics.codebook import sparse_counts


@pytest.fixture(scope="module")
def report():
    return evaluate(BlockMeans(), pictures(3), dataset="synthetic")


def with_codes(report: Report, *levels: tuple[int, torch.Tensor]) -> Report:
    histograms = tuple(CodeHistogram.from_rows(k, sparse_counts(codes)) for k, codes in levels)
    return replace(report, histograms=histograms, codebooks=tuple(map(codebook_level, histograms)))


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def contains(picture: np.ndarray, part: np.ndarray) -> bool:
    """Whether a picture holds another one, pixel for pixel."""
    height, width = part.shape[:2]
    starts = np.argwhere((picture[: 1 - height or None, : 1 - width or None] == part[0, 0]).all(-1))
    return any((picture[y : y + height, x : x + width] == part).all() for y, x in starts)


class TestSaving:
    def test_writes_three_small_files(self, report, tmp_path):
        curve = codec_reference(pictures(3), "jpeg", [10, 90])
        paths = save_pictures(replace(report, references=(curve,)), tmp_path / "new")
        pyplot = sys.modules.get("matplotlib.pyplot")  # others may have loaded it
        assert pyplot is None or not pyplot.get_fignums()
        assert [path.name for path in paths] == [
            "reconstruction.png",
            "usage.png",
            "rate_quality.png",
        ]
        for path in paths:
            assert path.stat().st_size < 500_000
            assert min(pixels(path.read_bytes()).shape[:2]) > 150

    def test_leaves_out_what_a_loaded_report_has_lost(self, report, tmp_path):
        report.save(tmp_path)
        paths = save_pictures(Report.load(tmp_path), tmp_path)
        assert [path.name for path in paths] == ["rate_quality.png"]

    def test_empty_report(self, tmp_path):
        empty = evaluate(BlockMeans(), [], dataset="empty")
        assert [path.name for path in save_pictures(empty, tmp_path)] == ["usage.png"]

    def test_same_report_gives_the_same_bytes(self, report):
        assert reconstruction_png(report) == reconstruction_png(report)


class TestReconstruction:
    def test_shows_the_pictures_pixel_for_pixel(self, report):
        shown = pixels(png(reconstruction_figure(report, panel=60)))
        for picture in report.pictures:
            for image in (picture.original, picture.reconstruction, picture.error):
                assert contains(shown, image.numpy())

    def test_small_pictures_are_enlarged_by_a_whole_factor(self):
        report = evaluate(BlockMeans(), pictures(1, height=16, width=16), dataset="small")
        shown = pixels(png(reconstruction_figure(report, panel=40)))
        original = report.pictures[0].original.numpy()
        assert contains(shown, original.repeat(2, 0).repeat(2, 1))

    def test_photographs_stay_below_the_limit(self):
        # Noise is the worst that PNG can meet.
        images = [(f"{i}", torch.rand(3, 500, 700) * 2 - 1) for i in range(3)]
        report = evaluate(BlockMeans(), images, dataset="noise")
        data = reconstruction_png(report)
        assert 100_000 < len(data) <= 500_000

    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 11)])
    def test_odd_sizes(self, size):
        images = pictures(1, height=size[0], width=size[1])
        data = reconstruction_png(evaluate(BlockMeans(), images, dataset="odd"))
        height, width = pixels(data).shape[:2]
        assert 50 < height < 2000
        assert 400 < width < 2000

    def test_names_of_all_kinds(self):
        image = pictures(1)[0][1]
        names = ["$x^2$ \\frac{1}", "日本語 🙂", "line\nbreak\x07", "long " * 100]
        report = evaluate(BlockMeans(), [(n, image) for n in names], dataset="$_")
        assert len(report.pictures) == 4
        reconstruction_png(report)

    def test_without_pictures(self, report):
        with pytest.raises(ConfigError, match="max_pictures"):
            reconstruction_figure(replace(report, pictures=()))


class TestUsage:
    def test_curve_is_the_sorted_counts(self, report):
        codes = torch.tensor([5] * 8 + [1] * 4 + [2] * 2 + [7])
        figure = usage_figure(with_codes(report, (8, codes)))
        axes = figure.axes[0]
        curve = next(line for line in axes.lines if line.get_label() == "tokens per code")
        x, y = curve.get_data()
        assert list(zip(x, y, strict=True)) == [(0, 8), (1, 4), (2, 2), (3, 1), (4, 1)]
        uniform = next(line for line in axes.lines if line.get_label().startswith("uniform"))
        assert list(uniform.get_ydata()) == [15 / 8] * 2
        assert axes.get_yscale() == "log"
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert "unused codes: 4" in labels
        level = codebook_level(CodeHistogram.from_rows(8, sparse_counts(codes)))
        title = axes.get_title(loc="left")
        assert f"usage {100 * level.usage:.4g} %" in title
        assert f"perplexity {level.perplexity:.1f}" in title

    @pytest.mark.parametrize(
        ("size", "codes"),
        [
            (1, torch.zeros(5, dtype=torch.int64)),
            (2**62, torch.arange(4000) * 2**40),
            (2**18, torch.arange(3000) * 7),
            (64, torch.zeros(0, dtype=torch.int64)),
        ],
    )
    def test_codebooks_of_all_sizes(self, report, size, codes):
        figure = usage_figure(with_codes(report, (size, codes)))
        assert len(png(figure)) < 100_000
        assert max((len(line.get_xdata()) for line in figure.axes[0].lines), default=0) < 2500

    @pytest.mark.parametrize("num_levels", [1, 4, 40])
    def test_many_codebooks(self, report, num_levels):
        levels = [(8, torch.arange(8))] * num_levels
        figure = usage_figure(with_codes(report, *levels))
        drawn = [axes for axes in figure.axes if axes.get_title(loc="left")]
        assert len(drawn) == min(num_levels, 12)
        assert ("first 12 shown" in figure.get_suptitle()) == (num_levels > 12)

    def test_loaded_report(self, report, tmp_path):
        report.save(tmp_path)
        with pytest.raises(ConfigError, match="before saving"):
            usage_figure(Report.load(tmp_path))


class TestRateQuality:
    def test_shows_every_image_the_set_and_the_codecs(self, report):
        curve = codec_reference(pictures(3), "webp", [5, 50])
        axes = rate_quality_figure(replace(report, references=(curve,))).axes[0]
        points = axes.collections[0].get_offsets()
        expected = [[item.actual_rate, item.scores["psnr"]] for item in report.items]
        assert np.allclose(points, expected)
        codec = next(x for x in axes.lines if str(x.get_label()).startswith("WebP")).get_data()
        assert np.allclose(codec[0], [point.rate for point in curve.points])
        assert np.allclose(codec[1], [point.metrics["psnr"].mean for point in curve.points])
        mean = next(line for line in axes.lines if line.get_marker() == "D").get_data()
        expected = [report.rate.actual_rate, report.metrics["psnr"].mean]
        assert np.allclose(np.ravel(mean), expected)

    def test_one_image(self):
        report = evaluate(BlockMeans(), pictures(1), dataset="one")
        assert len(png(rate_quality_figure(report))) > 1000

    def test_many_curves(self, report):
        curve = codec_reference(pictures(1), "jpeg", [5, 50])
        axes = rate_quality_figure(replace(report, references=(curve,) * 6)).axes[0]
        assert sum(str(line.get_label()).startswith("JPEG") for line in axes.lines) == 6

    def test_without_images(self):
        with pytest.raises(ConfigError, match="failures"):
            rate_quality_figure(evaluate(BlockMeans(), [], dataset="empty"))


class TestPrintable:
    @pytest.mark.parametrize("length", [5, 12, 13])
    def test_is_cut_to_the_length(self, length):
        shown = printable("abcdefghijklmnopqrstuvwxyz", length)
        assert len(shown) == length
        assert shown[0] == "a"
        assert shown[-1] == "z"

    def test_what_the_font_lacks_is_replaced(self):
        assert printable("ä日\n🙂ß", 20) == "ä???ß"


@pytest.mark.slow
def test_scale_of_photographs_in_the_grid():
    report = evaluate(BlockMeans(), pictures(4, height=512, width=768), dataset="photos")
    longest = max(picture.original.shape[1] for picture in report.pictures)
    assert longest == 480
    assert math.isclose(report.pictures[0].original.shape[0], 320)
