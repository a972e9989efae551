"""What TensorBoard is shown of held-out media, and what is measured on them."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from tests.training import tiny
from vqkit.data import FramesToMultiple, MovingShapes, Voices
from vqkit.errors import ConfigError
from vqkit.losses import L1
from vqkit.metrics import FramePSNR, FrameSSIM, frame_psnr, mel_distance, si_sdr
from vqkit.nets import (
    ConvStyle,
    LightVideoDecoder,
    LightVideoEncoder,
    SEANetDecoder,
    SEANetEncoder,
)
from vqkit.quantizers import FSQ, Factorized
from vqkit.tokenizers import AudioFrontend, Tokenizer, VideoFrontend
from vqkit.training import (
    Clips,
    Pictures,
    Spectrograms,
    TokenizerTraining,
    WeightedLoss,
    sound_metrics,
)

RATE_HZ = 8000


class Board:
    """Keeps what is written to it."""

    def __init__(self):
        self.written = {}

    def __getattr__(self, kind):
        return lambda tag, value, step, *rest: self.written.update({(kind, tag): (value, rest)})


def sound_training() -> TokenizerTraining:
    torch.manual_seed(0)
    style = ConvStyle(padding="zero")
    sizes = {"dim": 8, "num_filters": 2, "strides": (4, 5), "num_lstm_layers": 0, "style": style}
    tokenizer = Tokenizer(
        AudioFrontend(RATE_HZ),
        SEANetEncoder(**sizes),
        Factorized(FSQ([5, 5]), 8),
        SEANetDecoder(**sizes),
        "tiny",
    )
    losses = {"waveform": WeightedLoss(L1())}
    return TokenizerTraining(
        tokenizer, losses, tiny.optimization(), 10, validation=sound_metrics(RATE_HZ)
    )


def clip_training() -> TokenizerTraining:
    torch.manual_seed(0)
    sizes = {"dim": 4, "widths": [8, 8], "num_blocks": [1, 1]}
    encoder, decoder = LightVideoEncoder(**sizes), LightVideoDecoder(**sizes)
    tokenizer = Tokenizer(VideoFrontend(), encoder, FSQ([5] * 4), decoder, "tiny")
    validation = {"psnr_db": FramePSNR(), "ssim": FrameSSIM()}
    losses = {"l1": WeightedLoss(L1())}
    return TokenizerTraining(tokenizer, losses, tiny.optimization(), 10, validation=validation)


@pytest.fixture
def written_by(unchecked_shapes):
    return _written_by


def _written_by(callback, module, validation, transform=None) -> dict:
    """At the last step."""
    board = Board()
    logger = TensorBoardLogger("never written")
    logger._experiment = board
    trainer = SimpleNamespace(
        should_stop=True,
        loggers=[logger],
        is_global_zero=True,
        datamodule=SimpleNamespace(validation=validation, validation_transform=transform),
    )
    callback.on_step(trainer, module)
    return board.written


def test_sounds_are_shown_as_spectrograms_and_played(written_by):
    voices = Voices(3, seconds=0.5, sample_rate_hz=RATE_HZ, channels=1)
    module = sound_training()
    written = written_by(Spectrograms(num_sounds=2, max_seconds=0.25), module, voices)
    assert set(written) == {
        (kind, f"{name}/{number}")
        for number in (0, 1)
        for kind, name in (
            ("add_figure", "spectrogram"), ("add_audio", "original"),
            ("add_audio", "reconstruction"),
        )
    }  # fmt: skip
    sound, (rate_hz,) = written["add_audio", "original/1"]
    assert torch.equal(sound, voices[1][0, : RATE_HZ // 4])
    assert rate_hz == RATE_HZ
    reconstruction, _ = written["add_audio", "reconstruction/1"]
    tokens = module.exported.encode([sound[None]])
    assert torch.equal(reconstruction, module.exported.decode(tokens)[0][0])


def test_pictures_are_shown_above_their_reconstructions(written_by):
    module = tiny.training(10, gan=False)
    source = tiny.Gradients(3)
    written = written_by(Pictures(num_images=2, side=48), module, source)
    ((grid, _),) = written.values()
    assert grid.shape == (3, 96, 96)
    torch.testing.assert_close(grid[:, :48, 48:], (source[1] + 1) / 2)


def test_spectrograms_want_sounds(written_by):
    with pytest.raises(ConfigError, match="of sounds"):
        written_by(Spectrograms(), tiny.training(10, gan=False), tiny.Gradients(3))


@pytest.mark.parametrize("make", [lambda: Spectrograms(every=0), lambda: Spectrograms(1, 1, 0.0),
                                  lambda: Pictures(side=0)])  # fmt: skip
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_validation_measures_what_it_is_given():
    module = sound_training()
    voices = Voices(2, seconds=0.5, sample_rate_hz=RATE_HZ)
    pairs = []
    for i in range(2):
        batch = voices[i][None]
        module.validation_step(batch, i)
        with torch.no_grad():
            pairs.append((module.exported(batch).reconstruction.clamp(-1, 1), batch))
    found = module.validation.compute()
    ratios = [float(si_sdr(*pair)) for pair in pairs]
    assert float(found["validation/si_sdr_db"]) == pytest.approx(sum(ratios) / 2)
    distances = [float(mel_distance(*pair, RATE_HZ)) for pair in pairs]
    assert float(found["validation/mel_distance"]) == pytest.approx(sum(distances) / 2)
    assert module.headline[-len(found) :] == tuple(found)


def test_clips_are_shown_as_strips_of_frames(written_by):
    shapes = MovingShapes(3, num_frames=12, side=32)
    module = clip_training()
    callback = Clips(num_clips=2, max_frames=9, num_frames=3, height=16)
    written = written_by(callback, module, shapes)
    assert set(written) == {("add_image", "clip/0"), ("add_image", "clip/1")}
    strip, _ = written["add_image", "clip/1"]
    assert strip.shape == (3, 3 * 16, 3 * 16)
    rows = [
        row.unflatten(-1, (3, 16)).movedim(-2, 1) for row in strip.unflatten(1, (3, 16)).unbind(1)
    ]
    clip = shapes[1][:, [0, 4, 8]]
    small = torch.nn.functional.interpolate(
        clip.movedim(1, 0), (16, 16), mode="bilinear", antialias=True
    ).movedim(0, 1)
    torch.testing.assert_close(rows[0].movedim(2, 1).movedim(1, 2), (small + 1) / 2)
    transform = FramesToMultiple(4, max_frames=5)
    prepared, _ = written_by(callback, module, shapes, transform)["add_image", "clip/1"]
    assert torch.equal(prepared[:, :16, :16], strip[:, :16, :16])  # the first frame
    assert not torch.equal(prepared[:, :16, 32:], strip[:, :16, 32:])  # frame 4, and not 8
    with pytest.raises(ConfigError, match="num_frames and height"):
        Clips(num_frames=0)


def test_held_out_clips_are_measured_while_a_model_trains():
    module = clip_training()
    batch = torch.stack([MovingShapes(1, num_frames=5, side=16)[0]])
    module.validation_step(batch, 0)
    decoded = module.exported(batch).reconstruction.clamp(-1, 1)
    decoded = (((decoded + 1) * 127.5).round() / 127.5 - 1).detach()
    values = module.validation.compute()
    expected = frame_psnr(decoded, batch).mean().item()
    assert values["validation/psnr_db"].item() == pytest.approx(expected, abs=0.1)
    assert set(values) == {"validation/psnr_db", "validation/ssim"}
