"""What evaluate measures of sounds, with a stand-in tokenizer, against doing it by hand."""

import json
import math
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from tests.evaluation.sound_stand_in import CoarseSamples, sounds
from tests.evaluation.stand_in import BlockMeans, pictures
from tests.metrics.sounds import RATE_HZ
from vqkit.errors import ConfigError
from vqkit.evaluation import (
    SOUND_METRICS,
    ImageQuality,
    Report,
    SoundPair,
    SoundQuality,
    evaluate,
    extremes,
    rate_quality_figure,
    scorer_metric,
    sound_metric,
    text_summary,
    word_error_metric,
)
from vqkit.files import dumps
from vqkit.media import Audio
from vqkit.metrics import Unmeasured, mel_distance, si_sdr, snr, stft_distance
from vqkit.ops import resample

FAST = ("mel_distance", "stft_distance", "si_sdr", "snr")


@pytest.fixture(scope="module")
def media():
    return sounds(3)


@pytest.fixture(scope="module")
def report(media):
    quality = SoundQuality(RATE_HZ, FAST)
    return evaluate(CoarseSamples(), media, dataset="voices", quality=quality, levels=[3, 1])


class TestRows:
    def test_scores_are_those_of_what_the_file_decodes_to(self, media, report):
        tokenizer = CoarseSamples()
        for (name, sound), item in zip(media, report.items, strict=True):
            assert item.name == name
            decoded = tokenizer.decode(tokenizer.encode([sound.samples]))[0][None]
            original = sound.samples[None]
            assert item.scores == {
                "mel_distance": mel_distance(decoded, original, RATE_HZ).item(),
                "stft_distance": stft_distance(decoded, original).item(),
                "si_sdr": si_sdr(decoded, original).item(),
                "snr": snr(decoded, original).item(),
            }
            assert item.size == {"samples": 3200, "sample_rate_hz": RATE_HZ, "channels": 1}

    def test_rate_is_bits_per_second_of_the_file(self, media, report):
        sizes_bytes = [len(dumps(CoarseSamples().encode([sound.samples]))) for _, sound in media]
        assert [item.size_bytes for item in report.items] == sizes_bytes
        assert [item.actual_rate for item in report.items] == [8 * n / 0.2 for n in sizes_bytes]
        assert report.rate.actual_rate == pytest.approx(8 * sum(sizes_bytes) / 0.6)
        assert report.metrics["nominal_bits_per_second"].mean == 6 * RATE_HZ
        assert report.to_dict()["rate"]["seconds"] == pytest.approx(0.6)

    def test_levels_are_files_of_their_own(self, media, report):
        tokenizer = CoarseSamples()
        one, three = report.levels.points
        first = [tokenizer.encode([sound.samples]).first_codebooks(1) for _, sound in media]
        assert one.size_bytes == sum(len(dumps(tokens)) for tokens in first)
        ratios = [
            si_sdr(tokenizer.decode(tokens)[0][None], sound.samples[None]).item()
            for tokens, (_, sound) in zip(first, media, strict=True)
        ]
        assert one.metrics["si_sdr"].mean == pytest.approx(math.fsum(ratios) / 3, rel=1e-12)
        assert three.metrics["si_sdr"] == report.metrics["si_sdr"]
        assert three.rate == report.rate.actual_rate
        assert (one.label, three.label) == ("1 codebook", "3 codebooks")

    def test_other_rates_and_channels_are_measured_at_the_rate_of_the_evaluation(self):
        sound = resample(sounds(1)[0][1].samples, RATE_HZ, 44_100).expand(2, -1)
        report = evaluate(
            CoarseSamples(),
            [("stereo", Audio(sound, 44_100))],
            dataset="one",
            quality=SoundQuality(RATE_HZ, ["si_sdr"]),
        )
        tokenizer = CoarseSamples()
        decoded = tokenizer.decode(tokenizer.encode([sound], sample_rate_hz=44_100))[0]
        pair = (resample(part, 44_100, RATE_HZ)[None] for part in (decoded, sound))
        assert report.items[0].scores["si_sdr"] == si_sdr(*pair).item()
        assert report.items[0].size["sample_rate_hz"] == 44_100
        assert report.setting.quality["sample_rate_hz"] == RATE_HZ

    def test_samples_alone_are_at_the_rate_of_the_model(self, media, report):
        plain = [(name, sound.samples) for name, sound in media]
        quality = SoundQuality(RATE_HZ, FAST)
        again = evaluate(CoarseSamples(), plain, dataset="voices", quality=quality)
        assert again.metrics["si_sdr"] == report.metrics["si_sdr"]
        assert again.digest == report.digest

    def test_silence_is_skipped_with_its_reason_and_emptiness_fails(self):
        media = [
            *sounds(1),
            ("empty", Audio(torch.zeros(1, 0), RATE_HZ)),
            ("silent", Audio(torch.zeros(1, 800), RATE_HZ)),
        ]
        quality = SoundQuality(RATE_HZ, FAST)
        report = evaluate(CoarseSamples(), media, dataset="mixed", quality=quality)
        assert [failure.name for failure in report.failures] == ["empty"]
        assert report.items[0].reasons == {
            "si_sdr": Unmeasured.SILENT_TARGET,
            "snr": Unmeasured.SILENT_TARGET,
        }
        assert report.metrics["si_sdr"].count == 1
        assert "1 the original is silent" in text_summary(report)


class TestReport:
    def test_comes_back_equal(self, report, tmp_path):
        report.save(tmp_path)
        loaded = Report.load(tmp_path)
        assert loaded.to_dict() == report.to_dict()
        assert loaded.items == report.items
        assert loaded.levels == report.levels

    def test_every_number_has_what_it_depends_on(self, report):
        content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert content["modality"] == "audio"
        assert len(content["dataset"]["digest"]) == 32
        assert content["quality"]["sample_rate_hz"] == RATE_HZ
        assert "Kaiser" in content["quality"]["resampler"]
        assert {"pesq", "pystoi", "visqol-python", "soundfile"} <= set(
            content["environment"]["versions"]
        )
        assert [row["name"] for row in content["measured"]] == list(FAST)
        assert all("16000 Hz" in row["definition"] for row in content["measured"])
        assert (
            content["metrics"]["si_sdr"]["confidence_95"][0] < content["metrics"]["si_sdr"]["mean"]
        )

    def test_digest_tells_sets_apart_and_not_their_order(self, media, report):
        quality = SoundQuality(RATE_HZ, ["snr"])

        def digest(chosen):
            return evaluate(CoarseSamples(), chosen, dataset="x", quality=quality).digest

        assert digest(media[::-1]) == report.digest
        assert digest(media[:2]) != report.digest
        louder = Audio(media[2][1].samples * 1.01, RATE_HZ)
        assert digest([*media[:2], ("voice 2.wav", louder)]) != report.digest

    def test_parts_give_the_whole(self, media, report):
        quality = SoundQuality(RATE_HZ, FAST)
        parts = [
            evaluate(
                CoarseSamples(), media[rank::2], dataset="voices", quality=quality, levels=[1, 3]
            )
            for rank in (0, 1)
        ]
        merged = Report.merge(parts)
        assert merged.metrics == report.metrics
        assert merged.levels == report.levels

    def test_text_is_in_kilobits_and_times_real_time(self, report):
        text = text_summary(report)
        rate = report.rate.actual_rate / 1000
        for expected in (
            "3 sounds, 0 failed",
            f"All seconds together: {rate:.3f} kbit/s",
            "SI-SDR in dB",
            "test/coarse-samples, 1 codebook",
            "times real time encoded",
            "Bitrate efficiency",
        ):
            assert expected in text, expected

    def test_worst_median_and_best(self, report):
        found = extremes(report, "mel_distance")
        distances = {word: item.scores["mel_distance"] for word, item in found.items()}
        assert list(distances) == ["worst", "median", "best"]
        assert distances["worst"] > distances["median"] > distances["best"]
        by_ratio = [item.scores["si_sdr"] for item in report.ranked("si_sdr")]
        assert by_ratio == sorted(by_ratio)
        assert list(extremes(replace(report, items=report.items[:1]), "si_sdr")) == ["worst"]
        with pytest.raises(ConfigError, match="expected one of mel_distance"):
            report.ranked("loudness")


class TestSettings:
    def test_metrics_of_other_media_are_refused(self):
        with pytest.raises(ConfigError, match="ImageQuality of images"):
            evaluate(CoarseSamples(), [], dataset="x", quality=ImageQuality())
        with pytest.raises(ConfigError, match="SoundQuality of sounds"):
            evaluate(BlockMeans(), pictures(1), dataset="x", quality=SoundQuality(RATE_HZ, ["snr"]))

    @pytest.mark.parametrize("levels", [[0], [4], [1, 1]])
    def test_levels_that_there_are_none(self, levels):
        with pytest.raises(ConfigError, match="1 to the 3 codebooks"):
            evaluate(CoarseSamples(), [], dataset="x", levels=levels)

    def test_metrics_are_known_and_there_once(self):
        with pytest.raises(ConfigError, match=r"expected one of mel_distance.*got 'loudness'"):
            SoundQuality(RATE_HZ, ["loudness"])
        with pytest.raises(ConfigError, match="each once"):
            SoundQuality(RATE_HZ, ["snr", "snr"])


class TestPackages:
    @pytest.mark.parametrize(
        ("name", "package"),
        [("pesq", "pesq"), ("stoi", "pystoi"), ("visqol_speech", "visqol")],
    )
    def test_a_missing_package_is_a_reason(self, name, package, monkeypatch, media):
        monkeypatch.setitem(sys.modules, package, None)
        report = evaluate(
            CoarseSamples(), media[:1], dataset="x", quality=SoundQuality(RATE_HZ, [name, "snr"])
        )
        summary = report.metrics[name]
        assert summary.mean is None
        assert "is not installed. Install vqkit[" in summary.reason
        assert report.metrics["snr"].count == 1
        assert summary.reason in text_summary(report)

    def test_wide_band_has_nothing_to_say_of_a_narrow_model(self):
        metric = sound_metric("pesq", 8000).metrics[0]
        assert "needs 16000 Hz" in metric.reason
        assert "8000 Hz" in sound_metric("snr", 8000).metrics[0].definition

    def test_every_name_is_offered(self):
        assert [sound_metric(name, RATE_HZ).metrics[0].name for name in SOUND_METRICS] == list(
            SOUND_METRICS
        )

    @pytest.mark.skipif(find_spec("pystoi") is None, reason="pystoi is not installed")
    def test_speech_is_measured_on_the_mean_of_the_channels(self):
        from vqkit.metrics import stoi

        (_, sound), (_, other) = sounds(2, seconds=1.0)
        original = torch.cat([sound.samples, sound.samples / 2])
        reconstruction = torch.cat([sound.samples, other.samples / 2])
        pair = SoundPair("x", reconstruction, original, RATE_HZ)
        means = [part.mean(dim=0)[None, None] for part in (reconstruction, original)]
        scores = sound_metric("stoi", RATE_HZ).score(pair)
        assert scores.values == {"stoi": stoi(*means, RATE_HZ).values.item()}


class TestModelsOfOthers:
    def test_scorer_rates_reconstruction_and_original(self, media):
        def peak(samples, sample_rate_hz):
            assert sample_rate_hz == 8000
            return samples.abs().max().item()

        quality = SoundQuality(RATE_HZ, [scorer_metric("peak", peak, 8000)])
        report = evaluate(CoarseSamples(), media, dataset="voices", quality=quality)
        first = resample(media[0][1].samples, RATE_HZ, 8000).abs().max().item()
        assert report.items[0].scores["peak_original"] == pytest.approx(first)
        assert report.items[0].scores["peak"] != report.items[0].scores["peak_original"]
        assert "peak on the mean" in report.setting.metrics[0].definition

    def test_a_scorer_without_a_number_is_skipped(self, media):
        quality = SoundQuality(RATE_HZ, [scorer_metric("mos", lambda samples, rate: math.nan)])
        report = evaluate(CoarseSamples(), media, dataset="voices", quality=quality)
        assert report.metrics["mos"].num_skipped == 3
        assert report.items[0].reasons["mos"] == Unmeasured.NOT_A_NUMBER

    def test_word_errors_are_pooled_over_words(self, media):
        said = {"voice 0.wav": "one two three four", "voice 1.wav": "One"}
        metric = word_error_metric(lambda samples, rate: "one", said)
        report = evaluate(
            CoarseSamples(), media, dataset="voices", quality=SoundQuality(RATE_HZ, [metric])
        )
        assert [item.scores["word_error_rate"] for item in report.items] == [0.75, 0.0, None]
        assert report.items[2].reasons["word_error_rate"] == "no transcript of it"
        assert report.pooled == {"word_error_rate": 0.6, "word_error_rate_original": 0.6}
        assert "word_error_rate 60.00%" in text_summary(report)


class TestRateQuality:
    def test_a_panel_for_each_metric_with_its_levels(self, report):
        panels = rate_quality_figure(report).axes
        assert [axes.get_ylabel() for axes in panels] == [
            "mel distance, lower is better",
            "STFT distance, lower is better",
            "SI-SDR in dB",
            "SNR in dB",
        ]
        points = report.levels.points
        for axes, name in zip(panels, FAST, strict=True):
            curve = next(line for line in axes.lines if "1 codebook to" in str(line.get_label()))
            assert curve.get_xdata().tolist() == [point.rate / 1000 for point in points]
            assert curve.get_ydata().tolist() == [point.metrics[name].mean for point in points]

    def test_chosen_metrics(self, report):
        assert len(rate_quality_figure(report, ["snr"]).axes) == 1
        with pytest.raises(ConfigError, match=r"expected some of mel_distance.*got pesq"):
            rate_quality_figure(report, ["pesq"])
