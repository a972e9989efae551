"""What evaluate measures, with a stand-in tokenizer, against doing it by hand."""

import math
from collections import Counter

import pytest
import torch

from tests.evaluation.stand_in import BlockMeans, pictures
from vqkit.errors import ShapeError
from vqkit.evaluation import ImageQuality, ItemFailure, ItemResult, evaluate, measuring
from vqkit.files import dumps, loads, read_info
from vqkit.metrics import ms_ssim, psnr, round_to_eight_bits, ssim
from vqkit.tokenizers.tokens import Tokens


@pytest.fixture(scope="module")
def images():
    return [*pictures(3), ("large.png", pictures(1, height=170, width=163)[0][1])]


@pytest.fixture(scope="module")
def report(images):
    return evaluate(
        BlockMeans(), images, dataset="synthetic", quality=ImageQuality(crop="centre 40")
    )


class TestRows:
    def test_quality_is_that_of_the_eight_bit_picture(self, images, report):
        tokenizer = BlockMeans()
        rows = {item.name: item for item in report.items}
        assert len(rows) == 4
        for name, image in images:
            target = round_to_eight_bits(image)[None]
            decoded = tokenizer.decode(tokenizer.encode([image]))[0]
            reconstruction = round_to_eight_bits(decoded)[None]
            assert rows[name].scores["psnr"] == psnr(reconstruction, target).item()
            assert rows[name].scores["ssim"] == ssim(reconstruction, target).item()
            is_large = min(image.shape[-2:]) >= 161
            expected = ms_ssim(reconstruction, target).item() if is_large else None
            assert rows[name].scores["ms_ssim"] == expected
            assert rows[name].scores["lpips"] is None
            sizes = (rows[name].size[side] for side in ("channels", "height", "width"))
            assert tuple(sizes) == image.shape

    def test_rate_is_that_of_the_file(self, images, report):
        tokenizer = BlockMeans()
        rows = {item.name: item for item in report.items}
        for name, image in images:
            tokens = tokenizer.encode([image])
            data = dumps(tokens)
            assert rows[name].size_bytes == len(data)
            assert rows[name].overhead_bytes == read_info(data).overhead_bytes
            assert 0 < rows[name].overhead_bytes < len(data)
            assert rows[name].num_tokens == tokens.num_tokens
            assert rows[name].nominal_bits == pytest.approx(tokens.num_tokens * math.log2(20))
            pixels = image.shape[-1] * image.shape[-2]
            assert rows[name].actual_rate == 8 * len(data) / pixels

    def test_codes_are_counted_per_codebook(self, images, report):
        codes = [Counter(), Counter(), Counter()]
        for _, image in images:
            for level, counter in enumerate(codes):
                counter.update(BlockMeans().encode([image]).indices[..., level].flatten().tolist())
        for counter, level, histogram in zip(
            codes, report.codebooks, report.histograms, strict=True
        ):
            assert dict(histogram.rows().tolist()) == counter
            assert level.num_tokens == sum(counter.values())
            assert level.num_distinct == len(counter)

    def test_times_are_measured(self, report):
        assert all(item.encode_seconds > 0 and item.decode_seconds > 0 for item in report.items)
        assert report.wall_seconds > report.encode_seconds + report.decode_seconds

    def test_rows_are_sorted_by_name(self, images):
        backwards = evaluate(BlockMeans(), images[::-1], dataset="synthetic")
        assert [item.name for item in backwards.items] == sorted(name for name, _ in images)


class TestDecodesFromTheBytes:
    def test_decoder_gets_what_the_file_holds(self, monkeypatch):
        in_files: list[Tokens] = []
        decoded: list[Tokens] = []

        def watched_loads(data, **options):
            in_files.append(loads(data, **options))
            return in_files[-1]

        class Watched(BlockMeans):
            def decode(self, tokens):
                decoded.append(tokens)
                return super().decode(tokens)

        monkeypatch.setattr(measuring, "loads", watched_loads)
        evaluate(Watched(), pictures(2), dataset="synthetic")
        decoded = decoded[1:]  # without the warm-up
        assert len(in_files) == len(decoded) == 2
        for read, given in zip(in_files, decoded, strict=True):
            assert given.indices.data_ptr() == read.indices.data_ptr()

    def test_a_file_that_changes_the_tokens_is_a_failure(self, monkeypatch):
        other = BlockMeans().encode([pictures(2)[1][1]])
        monkeypatch.setattr(measuring, "loads", lambda data, **options: other)
        report = evaluate(BlockMeans(), pictures(1), dataset="synthetic")
        assert [failure.error for failure in report.failures] == ["TokenFileError"]


class Brittle(BlockMeans):
    """Fails in another way for each of the bright pictures."""

    def decode(self, tokens: Tokens) -> list[torch.Tensor]:
        first = int(tokens.indices.flatten()[0])
        image = super().decode(tokens)[0]
        if first == 0:
            return [image * math.nan]
        if first == 19:
            return [image[:, 1:]]
        return [image]

    def encode(self, media):
        if media[0].shape[-1] == 1:
            raise RuntimeError("out of memory")
        return super().encode(media)


class TestFailures:
    @pytest.fixture
    def report(self):
        good = pictures(2)
        bad = [
            ("not finite", torch.full((3, 20, 20), -1.0)),
            ("wrong size", torch.ones(3, 20, 20)),
            ("wrong channels", torch.zeros(1, 20, 20)),
            ("crash", torch.zeros(3, 20, 1)),
            (good[0][0], torch.zeros(3, 20, 20)),
        ]
        self.seen = []
        images = [good[0], *bad, good[1]]
        return evaluate(Brittle(), images, dataset="synthetic", on_item=self.seen.append)

    def test_each_is_named_and_the_rest_goes_on(self, report):
        kinds = {failure.name: failure.error for failure in report.failures}
        assert kinds == {
            "not finite": "ShapeError",
            "wrong size": "ShapeError",
            "wrong channels": "ShapeError",
            "crash": "RuntimeError",
            "picture 00.png": "ShapeError",
        }
        assert [item.name for item in report.items] == ["picture 00.png", "picture 01.png"]

    def test_they_count_nowhere(self, report):
        clean = evaluate(BlockMeans(), pictures(2), dataset="synthetic")
        assert report.rate == clean.rate
        assert report.metrics == clean.metrics
        assert report.codebooks == clean.codebooks
        assert len(report.pictures) == 2

    def test_all_are_reported_as_they_come(self, report):
        kinds = [type(outcome) for outcome in self.seen]
        assert kinds == [ItemResult, *[ItemFailure] * 5, ItemResult]

    def test_what_the_data_raises_is_the_callers(self):
        def broken():
            yield pictures(1)[0]
            raise OSError("disk on fire")

        with pytest.raises(OSError, match="on fire"):
            evaluate(BlockMeans(), broken(), dataset="synthetic")

    def test_an_interrupt_ends_it(self):
        class Interrupted(BlockMeans):
            def encode(self, media):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(Interrupted(), pictures(1), dataset="synthetic")


class TestSizes:
    @pytest.mark.parametrize("size", [(1, 1), (1, 400), (10, 11), (23, 17)])
    def test_odd_sizes_are_measured_where_they_can_be(self, size):
        report = evaluate(BlockMeans(), pictures(1, height=size[0], width=size[1]), dataset="odd")
        assert report.failures == ()
        assert (report.items[0].scores["ssim"] is None) == (min(size) < 11)
        assert report.items[0].scores["ms_ssim"] is None
        assert report.metrics["ms_ssim"].num_skipped == 1
        assert max(report.pictures[0].original.shape) <= 480

    def test_no_image_at_all(self):
        report = evaluate(BlockMeans(), [], dataset="empty")
        assert report.metrics["psnr"].mean is None
        assert report.pooled["psnr"] is None
        assert [level.num_tokens for level in report.codebooks] == [0, 0, 0]


class TestPerceptual:
    def test_given_metric_is_applied_to_eight_bit_pictures(self):
        def distance(reconstruction, target):
            assert torch.equal(reconstruction, round_to_eight_bits(reconstruction))
            assert torch.equal(target, round_to_eight_bits(target))
            return (reconstruction - target).abs().mean()

        report = evaluate(
            BlockMeans(), pictures(2), dataset="synthetic", quality=ImageQuality(distance)
        )
        assert 0 < report.metrics["lpips"].mean < 1
        assert report.setting.metrics[-1].definition == "distance"
        assert report.setting.metrics[-1].reason is None

    def test_picture_too_small_for_it_is_skipped(self):
        def distance(reconstruction, target):
            if target.shape[-1] < 16:
                raise ShapeError("too small")
            return torch.tensor(0.5)

        images = [*pictures(1), ("small", torch.zeros(3, 12, 12))]
        report = evaluate(BlockMeans(), images, dataset="synthetic", quality=ImageQuality(distance))
        assert (report.metrics["lpips"].count, report.metrics["lpips"].num_skipped) == (1, 1)
        assert report.failures == ()

    def test_weights_are_named(self):
        class LPIPS(torch.nn.Module):
            backbone, heads = "pretrained", "pretrained"

            def forward(self, reconstruction, target):
                return torch.tensor(0.25)

        report = evaluate(
            BlockMeans(), pictures(1), dataset="synthetic", quality=ImageQuality(LPIPS())
        )
        assert (
            report.setting.metrics[-1].definition == "LPIPS(backbone=pretrained, heads=pretrained)"
        )

    @pytest.mark.parametrize(
        ("quality", "reason"),
        [
            (None, "no perceptual metric was given"),
            (ImageQuality("weights absent"), "weights absent"),
        ],
    )
    def test_without_it_the_report_says_why(self, quality, reason):
        report = evaluate(BlockMeans(), pictures(1), dataset="synthetic", quality=quality)
        assert report.metrics["lpips"].reason == reason
        assert report.items[0].scores["lpips"] is None


class TestPictures:
    def test_the_first_by_name_are_kept(self):
        images = pictures(6)
        shuffled = [images[i] for i in (4, 2, 5, 0, 3, 1)]
        report = evaluate(BlockMeans(), shuffled, dataset="synthetic", max_pictures=3)
        assert [p.name for p in report.pictures] == [name for name, _ in images[:3]]
        assert report.pictures[0].original.dtype == torch.uint8
        assert report.pictures[0].original.shape == (40, 52, 3)

    def test_none_are_kept(self):
        report = evaluate(BlockMeans(), pictures(2), dataset="synthetic", max_pictures=0)
        assert report.pictures == ()

    def test_error_is_four_times_the_difference(self):
        picture = evaluate(BlockMeans(), pictures(1), dataset="synthetic").pictures[0]
        difference = (picture.original.int() - picture.reconstruction.int()).abs()
        expected = (4 * difference).clamp(max=255)
        assert (picture.error.int() - expected).abs().max() <= 1
        assert difference.max() > 10


class TestDevice:
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.inner = BlockMeans()
            self.spec = self.inner.spec

        def encode(self, media):
            assert media[0].device == self.weight.device
            return self.inner.encode(media)

        def decode(self, tokens):
            assert tokens.indices.device == self.weight.device
            assert not torch.is_grad_enabled()
            return [image + self.weight for image in self.inner.decode(tokens)]

    def test_names_where_it_ran(self):
        report = evaluate(self.Network(), pictures(1), dataset="synthetic", device="cpu")
        assert report.environment.device == "cpu"
        assert report.failures == ()

    @pytest.mark.gpu
    def test_on_a_gpu(self):
        tokenizer = self.Network()
        report = evaluate(tokenizer, pictures(2), dataset="synthetic", device="cuda")
        assert report.failures == ()
        assert report.environment.device.startswith("cuda (")
        expected = evaluate(BlockMeans(), pictures(2), dataset="synthetic")
        assert report.metrics["psnr"].mean == pytest.approx(expected.metrics["psnr"].mean, abs=1e-6)
        assert report.metrics["ssim"].mean == pytest.approx(expected.metrics["ssim"].mean, abs=1e-6)
