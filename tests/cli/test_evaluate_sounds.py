"""``vqkit evaluate`` and ``vqkit report`` on sounds."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.tiny_sounds import BROKEN, tiny_sound_tokenizer, write_sounds
from tests.evaluation.sound_stand_in import CoarseSamples
from tests.evaluation.sound_stand_in import sounds as voices
from tests.metrics.sounds import RATE_HZ
from vqkit.cli.scorers import metrics_of_user
from vqkit.cli.sources import Source
from vqkit.evaluation import Report, SoundPair, SoundQuality, evaluate, pictures
from vqkit.media import is_image


class Loudness:
    """A model as a user would name it on the command line."""

    def __call__(self, samples: torch.Tensor, sample_rate_hz: int) -> float:
        return samples.abs().mean().item()


def recogniser(samples: torch.Tensor, sample_rate_hz: int) -> str:
    return "a word"


NOT_CALLABLE = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sounds"
    tiny_sound_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds"))


def test_report_and_pictures(
    run: Run, model: Path, sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def draw(original: torch.Tensor, decoded: torch.Tensor, rate_hz: int, *, name: str) -> bytes:
        """Drawing takes a second each, and has tests of its own."""
        assert original.shape == decoded.shape
        drawn.append(name.split(":")[0])
        return b"a picture"

    monkeypatch.setattr(pictures, "spectrogram_png", draw)
    ran = run(
        "evaluate", sounds, "-m", model, "--output-dir", "out", "--levels", "1,3",
        "--reference", "opus=6,9",
    )  # fmt: skip
    assert ran.status == 1
    for name in (*BROKEN, "nothing.wav"):
        assert name in ran.err
    for words in ("kbit/s, of files", "Opus, 6 kbit/s", "needs 16000 Hz"):
        assert words in ran.out
    assert {path.name for path in Path("out").iterdir()} == {
        "report.json",
        "usage.png",
        "rate_quality.png",
        "spectrogram_worst.png",
        "spectrogram_median.png",
        "spectrogram_best.png",
    }
    assert drawn == ["worst", "median", "best"]
    assert is_image(Path("out/rate_quality.png"))
    report = Report.load("out")
    assert len(report.items) == 4
    assert report.setting.quality["sample_rate_hz"] == 8000
    measured = [metric.name for metric in report.setting.metrics]
    assert measured == ["mel_distance", "stft_distance", "si_sdr", "snr", "pesq", "stoi"]
    assert [point.setting for point in report.levels.points] == [1, 3]
    (opus,) = report.references
    assert [point.setting for point in opus.points] == [6000, 9000]
    assert opus.num_items == len(report.items)


def test_models_of_the_user(tmp_path: Path) -> None:
    here = "tests.cli.test_evaluate_sounds"
    said = tmp_path / "said.txt"
    said.write_text("talk two words\n\nvoice.ogg\ta word\n")
    sources = [Source(tmp_path / name) for name in ("talk.flac", "voice.ogg", "other.wav")]
    loudness, errors = metrics_of_user(
        [f"loudness={here}:Loudness"], f"{here}:recogniser", str(said), sources
    )
    sound = torch.full((1, 8000), 0.5)
    pairs = [SoundPair(source.name, sound, sound, 8000) for source in sources]
    assert loudness.score(pairs[0]).values["loudness"] == pytest.approx(0.5, abs=0.01)
    rates = [errors.score(pair).values["word_error_rate"] for pair in pairs]
    assert rates == [1.0, 0.0, None]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--metrics", "loudness"), "expected some of mel_distance"),
        (("--levels", "4"), "--levels 4: audio/tiny has 3 codebook(s) and cannot decode"),
        (("--levels", "some"), "or all"),
        (("--reference", "aac"), "got 'aac'"),
        (("--reference", "opus=low"), "with numbers"),
        (("--reference", "opus=1"), "expected 6 to 256"),
        (("--reference", "jpeg"), "expected one of opus, mp3, amr"),
        (("--lpips",), "--lpips: audio/tiny is a tokenizer of audio"),
        (("--scorer", "utmos"), "NAME=MODULE:OBJECT"),
        (("--scorer", "a=no_such_module:x"), "No module named"),
        (("--scorer", "a=tests.cli.test_evaluate_sounds:NOT_CALLABLE"), "can be called"),
        (("--transcriber", "json:loads"), "together"),
        (("--transcriber", "json:loads", "--transcripts", "nowhere"), "cannot read it"),
    ],
)
def test_wrong_usage(
    options: tuple[str, ...], complaint: str, run: Run, model: Path, sounds: Path
) -> None:
    command = ("evaluate", sounds / "talk.flac", "-m", model, "--output-dir", "out")
    ran = run(*command, *options)
    assert ran.status == 2
    assert complaint in ran.err
    assert not Path("out/report.json").exists()


def test_options_of_sounds_on_images(run: Run, photos: Path, tmp_path: Path) -> None:
    from tests.cli.tiny import tiny_tokenizer

    tiny_tokenizer().save_pretrained(tmp_path / "images")
    options = ("-m", tmp_path / "images", "--trust", "tests", "--output-dir", "out")
    ran = run("evaluate", photos / "a.png", *options, "--metrics", "pesq")
    assert ran.status == 2
    assert "--metrics: image/tiny is a tokenizer of image" in ran.err


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    quality = SoundQuality(RATE_HZ, ["mel_distance", "si_sdr"])
    evaluate(CoarseSamples(), voices(2), dataset="two", quality=quality).save(folder)
    return folder


class TestReport:
    def test_shows_it_again(self, run: Run, report: Path) -> None:
        ran = run("report", report)
        assert (ran.status, ran.err) == (0, "")
        assert "two (" in ran.out
        assert "SI-SDR in dB" in ran.out
        document = run("report", report / "report.json", "--json").document
        assert document == json.loads((report / "report.json").read_text())

    def test_expected_is_printed_and_held_against_it(self, run: Run, report: Path) -> None:
        ran = run("report", report, "--expected", "audio/tiny", "--minutes", 2)
        expected = json.loads(ran.out)
        assert expected["command"] == "vqkit train recipe=audio/tiny"
        Path("expected.json").write_text(ran.out)
        ran = run("report", report, "--check", "expected.json")
        assert (ran.status, ran.err) == (0, "All 5 numbers are as expected.\n")
        expected["metrics"]["si_sdr"]["value"] += 1e6
        Path("expected.json").write_text(json.dumps(expected))
        ran = run("report", report, "--check", "expected.json")
        assert ran.status == 1
        assert "si_sdr: expected" in ran.err
        assert "1 of 5 numbers" in ran.err

    def test_wrong_usage(self, run: Run, report: Path) -> None:
        assert run("report", report, report).status == 2
        assert "--minutes" in run("report", report, "--expected", "audio/x").err
        assert "No such file" in run("report", report, "--check", "nowhere").err
        Path("text").write_text("no JSON")
        assert "no JSON" in run("report", report, "--check", "text").err
        assert "Evaluate a model first" in run("report", "nothing").err
