"""What a recipe promises, made of a report and held against another."""

from dataclasses import replace

import pytest

from tests.evaluation.sound_stand_in import CoarseSamples, sounds
from tests.metrics.sounds import RATE_HZ
from vqkit.errors import ConfigError
from vqkit.evaluation import (
    SoundQuality,
    codec_reference,
    evaluate,
    expected_document,
    unexpected,
)

QUALITY = SoundQuality(RATE_HZ, ["si_sdr", "mel_distance"])


@pytest.fixture(scope="module")
def report():
    media = sounds(2)
    report = evaluate(CoarseSamples(), media, dataset="voices", quality=QUALITY)
    return replace(report, references=(codec_reference(media, "opus", [9000], QUALITY),))


@pytest.fixture(scope="module")
def expected(report):
    return expected_document(report, recipe="audio/x", command="vqkit train x", minutes=4.5)


def test_it_has_what_a_recipe_needs(report, expected):
    assert (expected["recipe"], expected["command"], expected["minutes"]) == (
        "audio/x",
        "vqkit train x",
        4.5,
    )
    assert report.digest in expected["source"]
    assert report.environment.versions["torch"] in expected["hardware"]
    assert set(expected["metrics"]) == {
        "si_sdr",
        "mel_distance",
        "kilobits_per_second_of_files",
        "bitrate_efficiency",
        "lowest_usage",
    }
    rate = expected["metrics"]["kilobits_per_second_of_files"]
    assert rate["value"] == pytest.approx(report.rate.actual_rate / 1000, abs=1e-4)
    low, high = report.metrics["si_sdr"].confidence_95
    assert expected["metrics"]["si_sdr"]["tolerance"] == pytest.approx((high - low) / 2, abs=1e-4)
    (opus,) = expected["references"]
    assert (opus["codec"], opus["setting"]) == ("opus", "9 kbit/s")
    assert set(opus["metrics"]) == {"si_sdr", "mel_distance"}


def test_the_report_is_as_it_says(report, expected):
    assert unexpected(report, expected) == ()


def test_what_is_not_is_named(report, expected):
    metrics = {**expected["metrics"], "pesq": {"value": 2.0, "tolerance": 0.1}}
    metrics["lowest_usage"] = {"value": 0.1, "tolerance": 0.05}
    first, second = unexpected(report, {"metrics": metrics})
    assert first.startswith("lowest_usage: expected 0.1 -/+ 0.05, got 1")
    assert second == "pesq: expected 2, not in the report."


@pytest.mark.parametrize(
    "document", [{}, {"metrics": []}, {"metrics": {"a": 1}}, {"metrics": {"a": {}}}]
)
def test_other_documents_are_refused(report, document):
    with pytest.raises(ConfigError, match="with value and tolerance"):
        unexpected(report, document)
