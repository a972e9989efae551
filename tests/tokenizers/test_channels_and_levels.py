"""Channels that are encoded alone, and levels that are undone."""

import math

import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.files import dumps, loads
from vqkit.nets import SEANetDecoder, SEANetEncoder
from vqkit.ops.loudness import loudness_lufs
from vqkit.quantizers import FSQ, MultiScaleResidual, Residual
from vqkit.tokenizers import (
    AudioFrontend,
    LoudnessLevel,
    MidSide,
    PeakLevel,
    RMSLevel,
    SplitChannels,
    Tokenizer,
    build,
    describe,
)
from vqkit.tokenizers.audio_frontend import GAIN_SIZE
from vqkit.tokenizers.float_bits import float_of_bits

RATE_HZ = 8000


def tokenizer(policy=None, level=None, **parts) -> Tokenizer:
    torch.manual_seed(0)
    sizes = {"dim": 4, "num_filters": 2, "strides": (2, 3, 5), "num_lstm_layers": 0}
    quantizer = Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 2, level_scale=0.25)
    frontend = AudioFrontend(RATE_HZ, channel_policy=policy, level=level)
    return Tokenizer(
        frontend, SEANetEncoder(**sizes), quantizer, SEANetDecoder(**sizes), "audio/x", **parts
    ).eval()


def noise(channels: int, samples: int = 1000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return (0.2 * torch.randn(channels, samples, generator=generator)).clamp(-1, 1)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 11_025])
def test_split_is_each_channel_by_itself(channels, rate_hz):
    split, mono = tokenizer(SplitChannels()), tokenizer()
    sound = noise(channels)
    tokens = split.encode([sound], sample_rate_hz=rate_hz)
    assert tokens.axes == ("time", "channel")
    (decoded,) = split.decode(loads(dumps(tokens)))
    for number in range(channels):
        alone = mono.encode([sound[number : number + 1]], sample_rate_hz=rate_hz)
        assert torch.equal(tokens.indices[:, :, number], alone.indices)
        torch.testing.assert_close(decoded[number : number + 1], mono.decode(alone)[0])


def test_mid_and_side_are_two_sounds():
    stereo, mono = tokenizer(MidSide()), tokenizer()
    left, right = sound = noise(2)
    tokens = stereo.encode([sound])
    decoded = []
    for number, part in enumerate(((left + right) / 2, (left - right) / 2)):
        alone = mono.encode([part[None]])
        assert torch.equal(tokens.indices[:, :, number], alone.indices)
        decoded.append(mono.decoder(mono.quantizer.decode(alone.indices).movedim(-1, 1))[0, 0])
    mid, side = (part[:1000].detach() for part in decoded)
    expected = torch.stack([mid + side, mid - side]).clamp(-1, 1)
    torch.testing.assert_close(stereo.decode(tokens)[0], expected)
    assert stereo.encode([sound[:1]]).indices.shape[2] == 1
    with pytest.raises(ShapeError, match=r"1 to 2 channels for MidSide, got \[3, 1000\]"):
        stereo.encode([noise(3)])


def test_sounds_of_different_channels_in_one_batch():
    split = tokenizer(SplitChannels())
    items = [noise(2, 400), noise(1, 900), noise(6, 30)]
    together = split.encode(items)
    assert together.indices.shape[:3] == (3, 30, 6)
    for number, item in enumerate(items):
        assert together.item(number).same_as(split.encode([item]))
        assert split.decode(together)[number].shape == item.shape
    assert split.encode([items[0]] * 2, batched=True).same_as(split.encode([items[0]] * 2))


@pytest.mark.parametrize("policy", [SplitChannels(), MidSide()])
def test_networks_of_several_channels_cannot_take_each_alone(policy):
    with pytest.raises(ConfigError, match="networks of one channel"):
        AudioFrontend(RATE_HZ, 2, channel_policy=policy)


def test_a_quantizer_of_one_grid_cannot_take_channels_alone():
    sizes = {"dim": 4, "num_filters": 2, "strides": (2, 3, 5), "num_lstm_layers": 0}
    quantizer = MultiScaleResidual(FSQ([5] * 4), [[1], [4]])
    with pytest.raises(ConfigError, match="any number of positions"):
        Tokenizer(
            AudioFrontend(RATE_HZ, channel_policy=SplitChannels()),
            SEANetEncoder(**sizes),
            quantizer,
            SEANetDecoder(**sizes),
        )


LEVELS = {
    "loudness": LoudnessLevel(target_lufs=-20.0),
    "peak": PeakLevel(target=0.8),
    "rms": RMSLevel(target=0.1),
}


def measured(name: str, sound: torch.Tensor) -> float:
    if name == "loudness":
        return float(loudness_lufs(sound[None], RATE_HZ))
    return float(sound.abs().amax() if name == "peak" else sound.square().mean().sqrt())


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("factor", [0.05, 1.0, 3.0])
def test_networks_see_one_level_and_listeners_the_original(name, factor):
    """The factor is exact in the file, and decoding divides by it."""
    sound = (factor * 0.3 * torch.sin(torch.arange(8000) / 3)).clamp(-1, 1)[None].repeat(2, 1)
    frontend = AudioFrontend(RATE_HZ, 2, level=LEVELS[name])
    prepared, size = frontend.prepare(sound, (1,))
    target = {"loudness": -20.0, "peak": 0.8, "rms": 0.1}[name]
    assert measured(name, prepared) == pytest.approx(target, rel=1e-3)
    gain = float_of_bits(size[GAIN_SIZE], "gain")
    assert torch.equal(prepared, sound * gain)
    torch.testing.assert_close(frontend.restore(prepared, size), sound, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", LEVELS)
def test_a_louder_sound_has_the_same_tokens(name):
    model = tokenizer(level=LEVELS[name])
    quiet, loud = (model.encode([factor * noise(1)]) for factor in (0.125, 0.5))
    assert torch.equal(quiet.indices, loud.indices)
    first, second = (model.decode(loads(dumps(tokens)))[0] for tokens in (quiet, loud))
    # Both are clamped to [-1, 1], each at its own level.
    torch.testing.assert_close((4 * first).clamp(-1, 1), second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", [*LEVELS.values(), PeakLevel(max_gain_db=6.0, target=1.0)])
def test_silence_and_what_is_nearly_silent(level):
    for length in (0, 1, 500):
        assert level.gain(torch.zeros(2, length), RATE_HZ) == 1.0
    tiny = level.gain(torch.full((1, 500), 1e-30), RATE_HZ)
    assert 1 <= tiny <= 10 ** (level.max_gain_db / 20) * (1 + 1e-9)
    # A peak that stands out keeps the rest quiet rather than leave the range.
    click = torch.zeros(1, 8000)
    click[0, 10] = 0.9
    click[0, 4000:] = 1e-3
    assert 0.9 * level.gain(click, RATE_HZ) <= 1 + 1e-6
    assert level.gain(torch.full((7, 3000), 0.01), 2000) > 0


def test_levels_that_there_are_none_of():
    for wrong in (
        lambda: PeakLevel(target=0.0),
        lambda: RMSLevel(target=1.1),
        lambda: LoudnessLevel(max_gain_db=math.inf),
        lambda: PeakLevel(max_gain_db=-1.0),
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_a_gain_that_no_encoder_writes_is_refused():
    model = tokenizer(level=PeakLevel())
    tokens = model.encode([noise(1)])
    for bits in (0, 0x7F800000, 0x7FC00000, 0xBF800000, 1 << 40):
        tokens.media[0][GAIN_SIZE] = bits
        with pytest.raises(ShapeError, match="positive float32"):
            model.decode(tokens)
    del tokens.media[0][GAIN_SIZE]
    with pytest.raises(ShapeError, match=GAIN_SIZE):
        model.decode(tokens)


def test_configurations_name_what_is_not_as_it_always_was():
    """Models that were made before there were policies and levels keep their fingerprints."""
    assert set(describe(AudioFrontend())) == {"_target_", "sample_rate_hz", "channels"}
    assert "chunking" not in tokenizer().config
    frontend = AudioFrontend(channel_policy=MidSide(), level=RMSLevel(target=0.2))
    again = build(describe(frontend))
    assert (again.channel_policy, again.level) == (MidSide(), RMSLevel(target=0.2))
