"""The examples do what they say: with a few steps here, with all of them in the slow tests."""

from importlib import import_module

import pytest

NAMES = ["plain_autoencoder", "hugging_face_model", "audio_model"]


def run(name: str, folder, steps: int) -> dict[str, float]:
    """One run in this process."""
    return import_module(f"examples.{name}").main(
        ["--steps", str(steps), "--output", str(folder), "--seed", "1"]
    )


def test_plain_autoencoder(tmp_path):
    """Its own assertions: decode equals forward, the loaded layer gives the same indices."""
    figures = run("plain_autoencoder", tmp_path, 5)
    assert figures["bits_per_pixel"] == 9 / 16
    assert {"reconstruction.png", "quantizer.safetensors"} <= {p.name for p in tmp_path.iterdir()}


def test_hugging_face_model(tmp_path):
    """Its own assertion: the model loaded again gives the same indices."""
    figures = run("hugging_face_model", tmp_path, 20)
    assert figures["last_loss"] < 0.6 * figures["first_loss"]
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert (tmp_path / "digits.png").exists()


@pytest.mark.slow
def test_audio_model(tmp_path):
    figures = run("audio_model", tmp_path, 5)
    assert list(figures) == [f"snr_db_{n}" for n in (1, 2, 3, 4)]
    assert (tmp_path / "spectrograms.png").exists()


@pytest.mark.slow
def test_a_seed_gives_the_same_figures(tmp_path):
    first = run("audio_model", tmp_path, 3)
    assert run("audio_model", tmp_path, 3) == first


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_into_the_same_folder_replaces_the_first(name, tmp_path):
    for _ in range(2):
        run(name, tmp_path, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_whole_runs_are_good(name, tmp_path):
    figures = run(name, tmp_path, 600)
    if name == "plain_autoencoder":
        assert figures["psnr_db"] > 24.0
        assert figures["usage"] > 0.9  # of 16,384 tokens of training photos
    elif name == "hugging_face_model":
        assert figures["held_out_error"] < 0.1
        assert figures["gpt_nats"] < 0.9 * figures["unigram_nats"]
    else:
        levels = [figures[f"snr_db_{n}"] for n in (1, 2, 3, 4)]
        assert levels == sorted(levels)
        assert levels[3] > levels[0] + 2.0
