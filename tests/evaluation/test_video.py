"""Evaluations of clips, with a stand-in tokenizer, against doing it by hand."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from tests.evaluation.stand_in import BlockMeans
from tests.evaluation.video_stand_in import RATE, BlockClips, clips
from vqkit.data import MovingShapes
from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.evaluation import (
    FileFootage,
    Report,
    SourceFootage,
    TensorFootage,
    VideoQuality,
    codec_reference,
    evaluate,
    expected_document,
    matched_reference,
    over_time_figure,
    save_clips,
    save_pictures,
    side_by_side,
    text_summary,
    unexpected,
)
from vqkit.files import dumps
from vqkit.media import VideoEncoding, read_image, read_video, write_video
from vqkit.metrics import (
    Motion,
    clip_psnr,
    flicker,
    frame_errors,
    frame_psnr,
    frame_ssim,
    round_to_eight_bits,
)
from vqkit.nets import LightVideoDecoder, LightVideoEncoder
from vqkit.quantizers import FSQ, Residual
from vqkit.tokenizers import Tokenizer, VideoFrontend

QUALITY = VideoQuality()
# Estimating motion is what takes time.
STILL = VideoQuality(flow="not needed here")


@pytest.fixture(scope="module")
def media():
    return clips(3)


@pytest.fixture(scope="module")
def report(media):
    return evaluate(BlockClips(), media, dataset="waves", quality=QUALITY)


def eight_bit_pair(footage):
    """The decoded clip and the original."""
    decoded = BlockClips().decode(BlockClips().encode([footage.frames]))[0]
    return round_to_eight_bits(decoded)[None], round_to_eight_bits(footage.frames)[None]


class TestRows:
    def test_quality_is_that_of_the_eight_bit_frames(self, media, report):
        for (name, footage), item in zip(media, report.items, strict=True):
            assert item.name == name
            decoded, target = eight_bit_pair(footage)
            ratios = frame_psnr(decoded, target)[0]
            assert item.series["psnr"] == tuple(ratios.tolist())
            assert item.scores["psnr"] == pytest.approx(ratios.mean().item())
            assert item.scores["clip_psnr"] == pytest.approx(clip_psnr(decoded, target).item())
            assert item.scores["ssim"] == pytest.approx(frame_ssim(decoded, target).mean().item())
            change = 127.5 * flicker(decoded, target)[0]
            assert item.series["flicker"] == pytest.approx(change.tolist())
            assert item.scores["flicker"] == pytest.approx(change.mean().item())
            motion = Motion.of(target[0])
            errors = 1000 * motion.errors(decoded[0])
            assert item.series["warping_error"] == pytest.approx(errors.tolist(), nan_ok=True)
            assert item.scores["ms_ssim"] is None
            assert item.reasons["ms_ssim"] == "too small"

    def test_rate_is_that_of_the_file_per_pixel_and_per_second(self, media, report):
        for (_, footage), item in zip(media, report.items, strict=True):
            num_bytes = len(dumps(BlockClips().encode_pieces(footage.blocks(), frame_rate=RATE)))
            frames = footage.frames.shape[1]
            assert item.size_bytes == num_bytes
            assert item.extent == frames * 24 * 32
            assert item.seconds == pytest.approx(frames / 25)
            assert item.bits_per_second == pytest.approx(8 * num_bytes / (frames / 25))
        assert report.seconds == pytest.approx(15 / 25)
        assert report.bits_per_second == pytest.approx(8 * report.rate.size_bytes / (15 / 25))

    def test_bits_over_time_are_those_of_the_clip(self, report):
        for item in report.items:
            bits = item.series["entropy_bits"]
            assert len(bits) == math.ceil(item.size["frames"] / 2)
            assert sum(bits) == pytest.approx(item.entropy_bits)

    def test_clips_count_once_and_pixels_all(self, media, report):
        """Trap: averages over frames with different counts."""
        means = [item.scores["psnr"] for item in report.items]
        assert report.metrics["psnr"].mean == pytest.approx(sum(means) / 3)
        errors = torch.cat([frame_errors(*eight_bit_pair(footage))[0] for _, footage in media])
        expected = 10 * math.log10(4 / errors.mean().item())
        assert report.pooled["psnr"] == pytest.approx(expected)
        assert report.pooled["psnr"] != pytest.approx(report.metrics["psnr"].mean, abs=0.01)

    def test_the_blocks_do_not_matter(self, media, report):
        """Longer than a block that is read and compared at a time, in pieces of other lengths."""
        name, footage = media[2]
        long = TensorFootage(footage.frames.repeat(1, 3, 1, 1), RATE)
        reports = [
            evaluate(BlockClips(piece_frames=n), [(name, long)], dataset="x", quality=STILL)
            for n in (1, 5, 99)
        ]
        rows = [replace(r.items[0], encode_seconds=0, decode_seconds=0) for r in reports]
        assert rows[0].scores == rows[1].scores == rows[2].scores
        assert rows[0].series == rows[1].series == rows[2].series
        assert len(rows[0].series["flicker"]) == 20
        frames = [(name, long.frames)]
        tensor = evaluate(BlockClips(), frames, dataset="x", quality=STILL).items[0]
        assert tensor.scores == rows[0].scores
        assert (tensor.seconds, tensor.bits_per_second) == (None, None)

    def test_single_frames_have_no_changes(self, media):
        still = TensorFootage(media[0][1].frames[:, :1])
        item = evaluate(BlockClips(), [("still", still)], dataset="x").items[0]
        assert item.scores["flicker"] is None
        assert item.reasons["flicker"] == item.reasons["warping_error"] == "a single frame"
        assert item.scores["psnr"] is not None

    def test_what_fails_is_named(self, media, tmp_path):
        class Shortened(BlockClips):
            def decode_pieces(self, tokens):
                yield torch.cat(list(super().decode_pieces(tokens)), dim=1)[:, 1:]

        failed = evaluate(Shortened(), media[:1], dataset="x", quality=STILL).failures
        assert [failure.error for failure in failed] == ["ShapeError"]
        assert "(frame 2)" in failed[0].message
        (tmp_path / "broken.mp4").write_bytes(b"none")
        broken = [("broken", FileFootage(tmp_path / "broken.mp4"))]
        both = [*broken, *media[:1]]
        (failure,) = evaluate(BlockClips(), both, dataset="x", quality=STILL).failures
        assert failure.error == MediaError.__name__
        with pytest.raises(ConfigError, match="metrics of it"):
            evaluate(BlockMeans(), [], dataset="x", quality=QUALITY)

    def test_the_first_codebooks_alone(self, media):
        """From a file of their own, decoded piece by piece again."""
        torch.manual_seed(0)
        sizes = {"dim": 4, "widths": [8, 8], "num_blocks": [1, 1]}
        quantizer = Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 2, level_scale=0.25)
        encoder, decoder = LightVideoEncoder(**sizes), LightVideoDecoder(**sizes)
        tokenizer = Tokenizer(VideoFrontend(), encoder, quantizer, decoder, "two levels").eval()
        report = evaluate(tokenizer, media[:1], dataset="x", quality=STILL, levels=[1, 2])
        (item,) = report.items
        tokens = tokenizer.encode([media[0][1].frames], frame_rate=RATE).first_codebooks(1)
        decoded = round_to_eight_bits(tokenizer.decode(tokens)[0])
        target = round_to_eight_bits(media[0][1].frames)
        first, second = item.levels
        expected = frame_psnr(decoded[None], target[None]).mean().item()
        assert first.scores["psnr"] == pytest.approx(expected)
        assert second.scores == item.scores
        assert first.size_bytes < second.size_bytes == item.size_bytes

    def test_lpips_and_flow_are_the_users(self, media):
        def distance(decoded, target):
            if decoded.shape[-1] < 32:
                raise ShapeError("too small")
            return (decoded - target).abs().mean()

        quality = VideoQuality(distance, flow="no time")
        item = evaluate(BlockClips(), media[:1], dataset="x", quality=quality).items[0]
        decoded, target = eight_bit_pair(media[0][1])
        assert item.scores["lpips"] == pytest.approx((decoded - target).abs().mean().item())
        assert "warping_error" not in item.series
        reasons = {metric.name: metric.reason for metric in quality.metrics}
        assert reasons["warping_error"] == "no time"
        small = TensorFootage(media[0][1].frames[..., :16])
        row = evaluate(BlockClips(), [("a", small)], dataset="x", quality=quality).items[0]
        assert (row.scores["lpips"], row.reasons["lpips"]) == (None, "too small")


class TestReports:
    def test_a_file_keeps_all_of_it(self, report, tmp_path):
        report.save(tmp_path)
        read = Report.load(tmp_path)
        assert read.metrics == report.metrics
        assert read.items[1].series["psnr"] == pytest.approx(report.items[1].series["psnr"], 1e-4)
        document = json.loads((tmp_path / "report.json").read_text())
        assert document["rate"]["frames"] == 15
        assert document["rate"]["actual_bits_per_second"] == report.bits_per_second
        assert document["items"][0]["seconds"] == 3 / 25
        assert document["time"]["encoded_frames_per_second"] > 0
        for row in document["items"]:
            del row["series"]  # as earlier versions wrote it
        (tmp_path / "report.json").write_text(json.dumps(document))
        assert Report.load(tmp_path).items[0].series == {}

    def test_parts_are_the_whole(self, media, report):
        parts = [
            evaluate(BlockClips(), media[i::2], dataset="waves", quality=STILL) for i in (0, 1)
        ]
        merged = Report.merge(parts)
        for name in ("psnr", "flicker", "actual_bits_per_pixel", "actual_bits_per_second"):
            assert merged.metrics[name] == report.metrics[name]
        assert merged.digest == report.digest
        assert merged.items[2].series["psnr"] == report.items[2].series["psnr"]

    def test_text_and_promises(self, report, media):
        curve = codec_reference(media, "x264", [40], QUALITY)
        both = replace(report, references=(curve,))
        text = text_summary(both)
        assert "kbit/s, of files" in text
        assert "frames/s encoded" in text
        assert "without container" in text
        expected = expected_document(both, recipe="video/x", command="x", minutes=1)
        assert {"psnr", "bits_per_pixel_of_files", "kilobits_per_second_of_files"} <= set(
            expected["metrics"]
        )
        assert expected["references"][0]["bits_per_pixel_without_container"] > 0
        assert unexpected(both, expected) == ()

    def test_quality_and_bits_are_drawn_over_time(self, report, tmp_path):
        figure = over_time_figure(report)
        assert len(figure.axes[0].lines) == 3
        assert len(figure.axes[1].patches) == 3
        for item, patch in zip(report.items, figure.axes[1].patches, strict=True):
            drawn = patch.get_data()
            assert drawn.edges.tolist() == [*range(0, item.size["frames"], 2), item.size["frames"]]
            assert tuple(drawn.values) == item.series["entropy_bits"]
        with pytest.raises(ConfigError, match="frame by frame"):
            over_time_figure(report, "lpips")
        bare = replace(report, histograms=())
        names = [path.name for path in save_pictures(bare, tmp_path)]
        assert names == ["rate_quality.png", "over_time.png"]

    def test_clips_are_shown_beside_their_reconstructions(self, media, tmp_path):
        report = evaluate(BlockClips(), media[:1], dataset="x", quality=STILL)
        footage = dict(media)
        paths = save_clips(report, tmp_path, BlockClips(), footage.__getitem__)
        assert [path.name for path in paths] == ["clip_worst.mp4", "frames_worst.png"]
        shown = read_video(paths[0])
        assert shown.frames.shape[1:] == (3, 24, 3 * 32 + 4)
        assert shown.frame_rate == RATE
        original = footage[report.items[0].name].frames
        assert (shown.frames[..., :32] - original).abs().mean() < 0.1
        assert read_image(paths[1]).shape[0] == 3

    def test_sides_are_original_reconstruction_error(self):
        clip = torch.zeros(3, 2, 5, 7)
        joined = side_by_side(clip, clip + 0.1)
        assert joined.shape == (3, 2, 6, 26)
        assert torch.equal(joined[:, :, :5, :7], clip)
        assert torch.equal(joined[:, :, :5, 9:16], clip + 0.1)
        torch.testing.assert_close(joined[:, :, :5, 18:25], clip - 0.6)
        assert (joined[:, :, 5:] == -1).all()
        assert (joined[..., 7:9] == -1).all()


class TestFootage:
    def test_each_reading_begins_anew(self, tmp_path):
        frames = clips(3)[2][1].frames
        write_video(
            frames, tmp_path / "a.mkv", Fraction(30_000, 1001), encoding=VideoEncoding("ffv1")
        )
        footage = FileFootage(tmp_path / "a.mkv")
        assert footage.frame_rate == pytest.approx(30_000 / 1001, abs=1e-3)
        assert footage.size == {"frames": 7, "height": 24, "width": 32}
        for size in (2, 7, 100):
            read = torch.cat(list(footage.blocks(size)), dim=1)
            assert torch.equal(round_to_eight_bits(frames), read)
        first = FileFootage((tmp_path / "a.mkv").read_bytes(), max_frames=3)
        assert first.size["frames"] == 3
        assert [block.shape[1] for block in first.blocks(2)] == [2, 1]

    def test_of_a_set(self):
        source = MovingShapes(2, num_frames=5, side=16)
        footage = SourceFootage(source, 1)
        assert footage.frame_rate is None
        assert torch.equal(torch.cat(list(footage.blocks(2)), dim=1), source[1])

    def test_an_empty_one_is_refused(self):
        empty = TensorFootage(torch.zeros(3, 0, 4, 4))
        with pytest.raises(ShapeError, match="a frame at least"):
            _ = empty.size
        with pytest.raises(ShapeError, match="at least one frame"):
            QUALITY.measure("empty", torch.zeros(3, 0, 4, 4), empty)
        with pytest.raises(ShapeError, match="expected \\[channels, frames"):
            TensorFootage(torch.zeros(3, 4, 4))


class TestCodecs:
    @pytest.mark.parametrize("codec", ["x264", "vp9"])
    def test_bytes_quality_and_shape(self, codec, media):
        curve = codec_reference(media[:1], codec, [20, 50], QUALITY)
        good, bad = curve.points
        assert good.size_bytes > bad.size_bytes
        assert good.metrics["psnr"].mean > bad.metrics["psnr"].mean + 1
        assert good.metrics["psnr"].mean > 27  # 4:2:0 of coloured waves
        assert 0 < bad.payload_bytes < bad.size_bytes
        assert good.rate == pytest.approx(8 * good.size_bytes / (3 * 24 * 32))
        assert good.payload_rate == pytest.approx(8 * good.payload_bytes / (3 * 24 * 32))
        assert good.metrics["warping_error"].reason == "not measured at each setting of a codec"

    def test_settings_of_the_encoder_are_no_payload(self, media):
        """x264 writes half a kilobyte about itself into the first packet."""
        tiny = TensorFootage(torch.zeros(3, 1, 16, 16), RATE)
        (point,) = codec_reference([("grey", tiny)], "x264", [40], QUALITY).points
        assert point.payload_bytes < 100
        assert point.size_bytes > point.payload_bytes + 600

    def test_as_many_bytes_as_a_model(self, media):
        sizes = {}
        for name, footage in media[:2]:
            (point,) = codec_reference([(name, footage)], "x264", [33], STILL).points
            sizes[name] = point.payload_bytes
        (matched,) = matched_reference(media[:2], sizes, "x264", QUALITY).points
        assert 0.9 * sum(sizes.values()) < matched.payload_bytes <= sum(sizes.values())
        assert matched.metrics["warping_error"].count == 2
        (least,) = matched_reference(media[:1], {media[0][0]: 1}, "x264", STILL).points
        assert least.setting == 51

    def test_the_search_is_that_of_all_settings(self, media):
        name, footage = media[1]
        codec = [
            (
                setting,
                codec_reference([(name, footage)], "x264", [setting], STILL),
            )
            for setting in (30, 31, 32, 33, 34)
        ]
        sizes = {setting: curve.points[0].payload_bytes for setting, curve in codec}
        limit = sizes[32] + (sizes[31] - sizes[32]) // 2 if sizes[31] > sizes[32] else sizes[32]
        fitting = min(setting for setting, size in sizes.items() if size <= limit)
        (matched,) = matched_reference([(name, footage)], {name: limit}, "x264", STILL).points
        assert matched.setting <= fitting
        assert matched.payload_bytes <= limit

    def test_what_it_cannot_hold_is_refused(self, media):
        with pytest.raises(MediaError, match="no frames"):
            codec_reference([("empty", TensorFootage(torch.zeros(3, 0, 16, 16)))], "x264")
        with pytest.raises(ConfigError, match="expected settings from 0 to 51"):
            codec_reference(media, "x264", [52])

    @pytest.mark.slow
    def test_av1(self):
        large = clips(1, height=72, width=80)
        good, bad = codec_reference(large, "av1", [20, 55], STILL).points
        assert good.payload_bytes > bad.payload_bytes > 0
        assert good.metrics["psnr"].mean > bad.metrics["psnr"].mean
