"""Reports as files, and in parts."""

import json
import math
from dataclasses import replace

import pytest
import torch

from tests.evaluation.stand_in import BlockMeans, pictures
from vqkit.errors import ConfigError, VqkitError
from vqkit.evaluation import Report, evaluate, text_summary

TIMES = ("encode_seconds", "decode_seconds")


def without_times(report: Report) -> dict:
    """The content of a report, less what no two runs share."""
    content = report.to_dict()
    del content["time"]
    content["environment"] = {
        k: v for k, v in content["environment"].items() if k not in ("date", "num_processes")
    }
    content["items"] = [
        {k: v for k, v in row.items() if k not in TIMES} for row in content["items"]
    ]
    return content


@pytest.fixture(scope="module")
def report():
    images = [*pictures(4), ("pixel.png", pictures(1, height=1, width=1)[0][1])]
    return evaluate(BlockMeans(), [*images, ("grey.png", images[0][1][:1])], dataset="synthetic")


class TestContent:
    def test_keys_are_stable(self, report):
        content = report.to_dict()
        assert list(content) == [
            "format",
            "version",
            "modality",
            "dataset",
            "tokenizer",
            "quality",
            "environment",
            "definitions",
            "measured",
            "metrics",
            "pooled",
            "rate",
            "codebooks",
            "levels",
            "references",
            "time",
            "items",
            "failures",
        ]
        assert content["modality"] == "image"
        assert content["dataset"] == {
            "name": "synthetic",
            "digest": report.digest,
            "num_items": 5,
            "num_failures": 1,
        }
        assert content["quality"] == {
            "value_range": [-1, 1],
            "bits": 8,
            "resize": "none",
            "crop": "none",
        }
        assert content["tokenizer"]["name"] == "test/block-means"
        assert set(content["environment"]["versions"]) == {
            "python",
            "vqkit",
            "torch",
            "torchvision",
            "torchmetrics",
            "numpy",
            "pillow",
        }
        assert set(content["metrics"]) == {
            "psnr",
            "ssim",
            "ms_ssim",
            "lpips",
            "nominal_bits_per_pixel",
            "entropy_bits_per_pixel",
            "prior_bits_per_token",
            "actual_bits_per_pixel",
        }
        assert content["codebooks"]["levels"][0]["num_tokens"] == 4 * 10 * 13 + 1
        assert content["codebooks"]["levels"][0]["uniform_usage"] == pytest.approx(1)

    def test_means_are_those_of_the_rows(self, report):
        rows = report.to_dict()["items"]
        mean = math.fsum(row["scores"]["psnr"] for row in rows) / 5
        assert report.metrics["psnr"].mean == mean
        assert report.metrics["ssim"].count == 4
        assert report.metrics["ssim"].num_skipped == 1

    def test_pooled_numbers_are_ratios_of_sums(self, report):
        errors = sum(item.scores["mean_squared_error"] * item.extent for item in report.items)
        pixels = 4 * 40 * 52 + 1
        expected = 10 * math.log10(4 / (errors / pixels))
        assert report.pooled["psnr"] == pytest.approx(expected, rel=1e-12)
        sizes = sum(item.size_bytes for item in report.items)
        assert report.rate.actual_rate == 8 * sizes / pixels
        rate = report.to_dict()["rate"]
        assert 0 < rate["entropy_bits_per_pixel"] <= rate["nominal_bits_per_pixel"]
        assert rate["entropy_bits"] == sum(item.entropy_bits for item in report.items)

    def test_every_number_is_finite_or_null(self):
        empty = evaluate(BlockMeans(), [], dataset="empty")
        text = json.dumps(empty.to_dict(), allow_nan=False)
        content = json.loads(text)
        assert content["codebooks"]["levels"][0]["perplexity"] is None
        assert content["rate"]["actual_bits_per_pixel"] is None
        assert content["metrics"]["psnr"]["mean"] is None


class TestFiles:
    def test_comes_back_equal(self, report, tmp_path):
        path = report.save(tmp_path / "new" / "folder")
        assert path.name == "report.json"
        for source in (path, path.parent):
            loaded = Report.load(source)
            assert loaded.to_dict() == report.to_dict()
            assert loaded.items == report.items
            assert loaded.failures == report.failures

    def test_empty_report_comes_back_equal(self, tmp_path):
        empty = evaluate(BlockMeans(), [], dataset="empty")
        empty.save(tmp_path)
        assert Report.load(tmp_path).to_dict() == empty.to_dict()

    def test_replaces_an_older_one_and_leaves_nothing_else(self, report, tmp_path):
        (tmp_path / "report.json").write_text("old")
        report.save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
        assert Report.load(tmp_path).to_dict() == report.to_dict()

    def test_names_of_all_kinds_survive(self, tmp_path):
        name = 'Größe "x"\n日本.png'
        report = evaluate(BlockMeans(), [(name, pictures(1)[0][1])], dataset="synthetic")
        report.save(tmp_path)
        assert Report.load(tmp_path).items[0].name == name

    def test_folder_that_cannot_be_made(self, report, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(VqkitError, match=r"report\.json failed"):
            report.save(tmp_path / "file" / "folder")

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", "null", '{"format": 1, "version": 1}', "\x00\x01"]
    )
    def test_other_files_are_refused(self, text, tmp_path):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(ConfigError, match="Reading a report failed"):
            Report.load(tmp_path)

    def test_later_version_is_named(self, report, tmp_path):
        content = {**report.to_dict(), "version": 7}
        (tmp_path / "report.json").write_text(json.dumps(content))
        with pytest.raises(ConfigError, match="expected version 2, got 7"):
            Report.load(tmp_path)

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file"):
            Report.load(tmp_path)


class TestMerge:
    @pytest.mark.parametrize("num_parts", [1, 2, 3, 6])
    def test_parts_give_the_whole(self, num_parts):
        images = pictures(5)
        whole = evaluate(BlockMeans(), images, dataset="synthetic", max_pictures=3)
        parts = [
            evaluate(BlockMeans(), images[rank::num_parts], dataset="synthetic", max_pictures=3)
            for rank in range(num_parts)
        ]
        merged = Report.merge(parts)
        assert without_times(merged) == without_times(whole)
        assert merged.environment.num_processes == num_parts
        assert [p.name for p in merged.pictures] == [p.name for p in whole.pictures]
        assert merged.wall_seconds == max(part.wall_seconds for part in parts)

    def test_gather_alone_is_the_report_itself(self, report):
        assert report.gather() is report

    def test_image_in_two_parts(self, report):
        with pytest.raises(ConfigError, match=r"'picture 00\.png' in two parts"):
            Report.merge([report, report])

    def test_other_setting(self, report):
        other = evaluate(BlockMeans(), [], dataset="other")
        with pytest.raises(ConfigError, match="one data set"):
            Report.merge([report, other])

    def test_other_tokenizer(self, report):
        other = evaluate(BlockMeans(factor=8), [], dataset="synthetic")
        with pytest.raises(ConfigError, match="tokenizer"):
            Report.merge([report, other])

    def test_report_from_a_file_has_lost_its_counts(self, report, tmp_path):
        report.save(tmp_path)
        with pytest.raises(ConfigError, match="Merge before saving"):
            Report.merge([Report.load(tmp_path)])

    def test_nothing(self):
        with pytest.raises(ConfigError, match="got none"):
            Report.merge([])


class TestText:
    def test_states_what_a_reader_needs(self, report):
        text = text_summary(report)
        for expected in (
            "test/block-means",
            f"synthetic ({report.digest}): 5 images, 1 failed",
            "resize none, crop none",
            f"{report.metrics['psnr'].mean:.2f}",
            "1 too small",
            "no perceptual metric was given",
            f"{report.rate.actual_rate:.4f} bits per pixel",
            f"torch {report.environment.versions['torch']}",
            "grey.png: ShapeError: Encoding failed",
        ):
            assert expected in text, expected

    def test_columns_line_up(self, report):
        lines = text_summary(report).splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("codebook"))
        assert len({len(line) for line in lines[first : first + 4]}) == 1

    def test_empty_report(self):
        assert "No image was evaluated" in text_summary(evaluate(BlockMeans(), [], dataset="empty"))

    def test_long_lists_are_cut(self, report):
        many = replace(report, codebooks=report.codebooks[:1] * 40, failures=report.failures * 30)
        text = text_summary(many)
        assert "and 24 more codebooks" in text
        assert "and 20 more" in text
        assert len(text.splitlines()) < 60


def test_perfect_reconstruction_is_capped():
    # One level, whose middle is 0, and pictures of that value.
    images = [("flat", torch.zeros(3, 12, 12))]
    report = evaluate(BlockMeans(num_levels=1), images, dataset="flat")
    assert report.pooled["psnr"] == report.metrics["psnr"].mean == 100
    assert report.rate.nominal_bits == 0
    assert report.to_dict()["codebooks"]["bitrate_efficiency"] == 1
