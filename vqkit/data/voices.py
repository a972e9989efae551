"""Sounds like speech, made on the spot: a source, and a filter that moves; no files."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from vqkit.data.audio_source import AudioSource
from vqkit.data.sounds import Sound, TensorSound
from vqkit.errors import ConfigError

__all__ = ["Voices"]

_Values = npt.NDArray[np.float32]

# Formants of ten American English vowels, men's means (Peterson and Barney, Control methods used in
# a study of the vowels, 1952, table II).
_VOWELS_HZ = np.array(
    [
        (270, 2290, 3010),
        (390, 1990, 2550),
        (530, 1840, 2480),
        (660, 1720, 2410),
        (730, 1090, 2440),
        (570, 840, 2410),
        (440, 1020, 2240),
        (300, 870, 2240),
        (640, 1190, 2390),
        (490, 1350, 1690),
    ],
    np.float32,
)
_FOURTH_FORMANT_HZ = 3500.0
_BANDWIDTHS_HZ = (60.0, 90.0, 130.0, 200.0)
_NOISE_BANDWIDTH_HZ = 1500.0
_PITCH_HZ = (80.0, 300.0)
_OPEN_QUOTIENT = 0.6
_FRAME_SECONDS = 0.01
# Of the loudest vowel; a room is never silent.
_FLOOR = 1e-3


class Voices(AudioSource):
    """Syllables of voices that nobody has: for training and tests without any file.

    A train of glottal pulses (Klatt and Klatt, Analysis, synthesis, and perception of voice quality
    variations, JASA 1990) with a drifting pitch of 80 to 300 Hz goes through four resonators that
    move between the formants of vowels; hisses and bursts of noise, and pauses, lie between. Each
    sound has a voice of its own: pitch, length of the vocal tract, level. It is no language: a
    model learns waveforms like those of speech from it and nothing of words.

    Sound ``i`` is a function of the seed and ``i``; other seeds are other voices, to be held out.

    Args:
        num_sounds: how many there are.
        seconds: length of each, up to 60.
        sample_rate_hz: rate, 8000 or more.
        channels: number of channels; each has the voice at another level.
        seed: of everything.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> voices = Voices(2, seconds=0.5)
        >>> [(name, tuple(sound.shape)) for name, sound in voices.items()]
        [('voices/0/0', (1, 12000)), ('voices/0/1', (1, 12000))]
    """

    def __init__(
        self,
        num_sounds: int = 1000,
        *,
        seconds: float = 2.0,
        sample_rate_hz: int = 24_000,
        channels: int = 1,
        seed: int = 0,
    ) -> None:
        if num_sounds < 1 or not 0 < seconds <= 60 or sample_rate_hz < 8000 or seed < 0:
            raise ConfigError(
                "Voices: expected num_sounds >= 1, seconds above 0 and up to 60, sample_rate_hz "
                f">= 8000 and seed >= 0, got {num_sounds}, {seconds}, {sample_rate_hz} and {seed}."
            )
        super().__init__(num_sounds, sample_rate_hz=sample_rate_hz, channels=channels)
        self.num_sounds = num_sounds
        self.seconds = seconds
        self.seed = seed

    def name(self, index: int) -> str:
        """``voices/``, the seed and the number."""
        return f"voices/{self.seed}/{index}"

    def open(self, index: int) -> AbstractContextManager[Sound]:
        """Make one sound."""
        random = np.random.Generator(np.random.PCG64([self.seed, index]))
        num_samples = max(1, round(self.seconds * self.sample_rate_hz))
        voice = _speak(random, num_samples, self.sample_rate_hz)
        # The largest value is the level.
        levels = random.uniform(0.2, 0.9, (self.channels, 1))
        samples = (levels * (voice / np.abs(voice).max())).astype(np.float32)
        return nullcontext(TensorSound(torch.from_numpy(samples)))


class _Articulation(NamedTuple):
    """What is done frame by frame.

    Attributes:
        pitch_hz: [frames]
        formants_hz: [frames, 4]
        voicing: [frames] level of the pulses.
        hiss: [frames] level of the noise.
        hiss_hz: [frames, 1] where the noise is loudest.
    """

    pitch_hz: _Values
    formants_hz: _Values
    voicing: _Values
    hiss: _Values
    hiss_hz: _Values


def _speak(random: np.random.Generator, num_samples: int, sample_rate_hz: int) -> _Values:
    hop = round(_FRAME_SECONDS * sample_rate_hz)
    num_frames = -(-num_samples // hop) + 1
    frames = _articulate(random, num_frames)
    # Frame f stands at sample f * hop.
    time = np.arange((num_frames - 1) * hop) / hop
    pitch_hz, voicing, hiss = (
        np.interp(time, np.arange(num_frames), values)
        for values in (frames.pitch_hz, frames.voicing, frames.hiss)
    )
    phase = random.uniform() + np.cumsum(pitch_hz / sample_rate_hz)
    pulses = (voicing * _glottal_flow_change(phase % 1)).astype(np.float32)
    noise = (hiss * random.standard_normal(len(time))).astype(np.float32)
    voiced = _filtered(pulses, frames.formants_hz, _BANDWIDTHS_HZ, hop, sample_rate_hz)
    unvoiced = _filtered(noise, frames.hiss_hz, (_NOISE_BANDWIDTH_HZ,), hop, sample_rate_hz)
    return (voiced + unvoiced)[:num_samples]


def _articulate(random: np.random.Generator, num_frames: int) -> _Articulation:
    """Syllables: perhaps a hiss or a burst, a vowel, perhaps a pause."""
    low, high = _PITCH_HZ
    pitch = low * (high / low) ** random.uniform(0.15, 0.85)
    tract = random.uniform(0.95, 1.25)  # formants of a vocal tract that is shorter than a man's
    rows: list[tuple[float, ...]] = []
    while len(rows) < num_frames:
        syllable_pitch = float(np.clip(pitch * 2 ** random.uniform(-0.3, 0.3), low, high))
        vowel = _VOWELS_HZ[random.integers(len(_VOWELS_HZ))]
        shape = (syllable_pitch, *(tract * vowel).tolist(), tract * _FOURTH_FORMANT_HZ)
        hiss_hz = random.uniform(2000, 7000)
        onset = random.choice(["vowel", "hiss", "burst"], p=[0.4, 0.3, 0.3])
        if onset == "hiss":
            voicing = float(random.choice([0.0, 0.2]))
            rows += _held(random.uniform(0.06, 0.16), *shape, voicing, 0.15, hiss_hz)
        elif onset == "burst":
            rows += _held(random.uniform(0.04, 0.08), *shape, 0.0, _FLOOR, hiss_hz)
            rows += _held(0.02, *shape, 0.0, random.uniform(0.2, 0.5), hiss_hz)
        loudness = random.uniform(0.4, 1.0)
        rows += _held(random.uniform(0.08, 0.3), *shape, loudness, 4 * _FLOOR, hiss_hz)
        if random.uniform() < 0.2:
            rows += _held(random.uniform(0.1, 0.4), *shape, 0.0, _FLOOR, hiss_hz)
    table = np.array(rows[:num_frames], np.float32)
    smooth = _smoothed(table, num_frames=7)
    levels = _smoothed(table[:, 5:7], num_frames=3)
    drift = 1 + 0.02 * _smoothed(random.standard_normal((num_frames, 1)), num_frames=9)[:, 0]
    return _Articulation(
        pitch_hz=np.clip(smooth[:, 0] * drift, low, high),
        formants_hz=smooth[:, 1:5],
        voicing=levels[:, 0],
        hiss=levels[:, 1],
        hiss_hz=table[:, 7:],
    )


def _held(seconds: float, *row: float) -> list[tuple[float, ...]]:
    """So many frames alike, in the order of ``_Articulation``."""
    return [row] * max(1, round(seconds / _FRAME_SECONDS))


def _smoothed(columns: npt.NDArray[np.floating], num_frames: int) -> _Values:
    """The mean over so many frames (an odd number) around each."""
    reach = num_frames // 2
    padded = np.pad(columns, ((reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, num_frames, axis=0)
    return windows.mean(-1).astype(np.float32)


def _glottal_flow_change(phase: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The derivative of the flow ``u^2 - u^3`` while the glottis is open; its closure is abrupt."""
    u = phase / _OPEN_QUOTIENT
    return np.where(u < 1, u * (2 - 3 * u), 0)


def _filtered(
    signal: _Values,
    frequencies_hz: _Values,
    bandwidths_hz: tuple[float, ...],
    hop: int,
    sample_rate_hz: int,
) -> _Values:
    """A cascade of resonators that changes from frame to frame, by overlapping windows.

    Args:
        signal: [(frames - 1) * hop]
        frequencies_hz: [frames, resonators]
        bandwidths_hz: of each resonator.
        hop: samples between frames; a window has two, and two more for the resonators to ring.
        sample_rate_hz: rate.
    """
    num_frames = len(frequencies_hz)
    hops = np.pad(signal, (hop, hop)).reshape(num_frames + 1, hop)
    # Two windows that overlap by half add up to 1.
    window = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)).astype(np.float32)
    windows = np.concatenate([hops[:-1], hops[1:]], axis=1) * window
    delay = np.exp(-0.5j * np.pi * np.arange(2 * hop + 1) / hop).astype(np.complex64)
    poles = np.ones((num_frames, len(delay)), np.complex64)
    for frequency_hz, bandwidth_hz in zip(frequencies_hz.T, bandwidths_hz, strict=True):
        # Two poles, with gain 1 for a constant (Klatt, Software for a cascade/parallel formant
        # synthesizer, JASA 1980); none beyond the highest frequency that there is.
        radius = np.float32(np.exp(-np.pi * bandwidth_hz / sample_rate_hz))
        angle = 2 * np.pi * np.minimum(frequency_hz / sample_rate_hz, 0.45).astype(np.float32)
        b, c = (2 * radius * np.cos(angle))[:, None], -(radius**2)
        poles *= ((1 - c * delay**2) - b * delay) / (1 - b - c)
    spectra = np.fft.rfft(windows, 4 * hop).astype(np.complex64, copy=False) / poles
    parts = np.fft.irfft(spectra, 4 * hop).reshape(num_frames, 4, hop)
    added = np.zeros((num_frames + 3, hop), np.float32)
    for k in range(4):
        added[k : k + num_frames] += parts[:, k]
    return added.reshape(-1)[hop : hop + len(signal)]
