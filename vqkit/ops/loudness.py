"""Integrated loudness by ITU-R BS.1770-4."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Float

__all__ = ["k_weighting", "loudness_lufs", "normalise_loudness"]

_OFFSET = -0.691
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_STEPS_PER_BLOCK = 4  # of 100 ms: blocks of 400 ms overlap by 75 %
_SURROUND = 1.41
# Left, right, centre, low frequencies, left and right surround; five channels are without the low.
_CHANNEL_WEIGHTS = {
    1: (1.0,),
    2: (1.0, 1.0),
    3: (1.0, 1.0, 1.0),
    5: (1.0, 1.0, 1.0, _SURROUND, _SURROUND),
    6: (1.0, 1.0, 1.0, 0.0, _SURROUND, _SURROUND),
}
# Time until the slower filter has decayed by 200 dB: its poles are those of 38 Hz with Q = 1/2.
_DECAY_SECONDS = 0.12
_CHUNK_SECONDS = 20


def k_weighting(sample_rate_hz: int) -> Float[Tensor, "2 2 3"]:
    """Coefficients of the two filters of the K weighting, fp64.

    The recommendation gives them at 48 kHz. These are its analogue prototypes (a shelf of 4 dB at
    1,682 Hz and a high pass at 38 Hz) under the bilinear transform for any rate, which at 48 kHz
    gives the tables to all their digits.

    Returns:
        ``[filter, numerator or denominator, power of the delay]``; the denominators begin with 1.

    Raises:
        ConfigError: A rate at or below twice the shelf's frequency.
    """
    if sample_rate_hz <= 2 * 1682:
        raise ConfigError(f"K weighting: expected a rate above 3364 Hz, got {sample_rate_hz}.")
    tangent = math.tan(math.pi * 1681.974450955533 / sample_rate_hz)
    square, over_q = tangent**2, tangent / 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    scale = 1 + over_q + square
    shelf = [
        [
            (high + band * over_q + square) / scale,
            2 * (square - high) / scale,
            (high - band * over_q + square) / scale,
        ],
        [1.0, 2 * (square - 1) / scale, (1 - over_q + square) / scale],
    ]
    tangent = math.tan(math.pi * 38.13547087602444 / sample_rate_hz)
    square, over_q = tangent**2, tangent / 0.5003270373238773
    scale = 1 + over_q + square
    high_pass = [
        [1.0, -2.0, 1.0],
        [1.0, 2 * (square - 1) / scale, (1 - over_q + square) / scale],
    ]
    return torch.tensor([shelf, high_pass], dtype=torch.float64)


def loudness_lufs(
    x: Float[Tensor, "batch channels samples"],
    sample_rate_hz: int,
    *,
    channel_weights: Sequence[float] | None = None,
) -> Float[Tensor, " batch"]:
    """Integrated loudness of each item in LUFS (ITU-R BS.1770-4), fp64.

    K weighting, the mean square of blocks of 400 ms that begin each 100 ms, the weighted sum over
    the channels; of these the mean over the blocks above -70 LUFS and above 10 LU less than the
    mean of those. An item without any block above -70 LUFS, silence say, has -inf; one with samples
    that are not finite has NaN. An item shorter than 400 ms is one block of its own length. Memory
    beyond the input's is bounded.

    Args:
        x: Samples in [-1, 1].
        sample_rate_hz: Sample rate.
        channel_weights: One per channel. None: 1 for one to three channels (left, right, centre),
            1.41 for the two surround channels behind them, 0 for the low frequencies, the fourth
            of six.

    Raises:
        ShapeError: No sample, or channels without weights.
        ConfigError: A rate at or below 3,364 Hz.

    >>> tone = torch.sin(2 * torch.pi * 997 * torch.arange(48000, dtype=torch.float64) / 48000)
    >>> round(float(loudness_lufs(tone[None, None], 48000)), 2)
    -3.01
    """
    if x.ndim != 3 or not x.shape[-1]:
        raise ShapeError(
            f"Loudness: expected [batch, channels, samples >= 1], got {list(x.shape)}."
        )
    chosen = _CHANNEL_WEIGHTS.get(x.shape[1]) if channel_weights is None else channel_weights
    if chosen is None or len(chosen) != x.shape[1]:
        raise ShapeError(
            f"Loudness: expected {x.shape[1]} channel weights, got "
            f"{'none' if chosen is None else len(chosen)}. Pass channel_weights, one per channel."
        )
    weights = torch.tensor(chosen, dtype=torch.float64, device=x.device)
    step = round(sample_rate_hz / 10)
    energies = torch.cat(
        [_energy_of_steps(y, step) for y in _k_weighted(x, sample_rate_hz, step)], dim=-1
    )
    num_steps = x.shape[-1] // step
    if num_steps < _STEPS_PER_BLOCK:
        blocks = energies.sum(-1, keepdim=True) / x.shape[-1]
    else:
        windows = energies[..., :num_steps].unfold(-1, _STEPS_PER_BLOCK, 1)
        blocks = windows.sum(-1) / (_STEPS_PER_BLOCK * step)
    return _gated(torch.einsum("bcn,c->bn", blocks, weights))


def normalise_loudness(
    x: Float[Tensor, "batch channels samples"],
    sample_rate_hz: int,
    target_lufs: float = -24.0,
    *,
    channel_weights: Sequence[float] | None = None,
) -> Float[Tensor, "batch channels samples"]:
    """Scale each item to a loudness; items of loudness -inf or NaN stay as they are.

    Peaks are not limited: a result may leave [-1, 1].

    Args:
        x: Samples in [-1, 1].
        sample_rate_hz: Sample rate.
        target_lufs: Loudness of the result. DAC trains at -16 (code) or -24 (paper).
        channel_weights: As of :func:`loudness_lufs`.

    Raises:
        ShapeError: As :func:`loudness_lufs`.
    """
    loudness = loudness_lufs(x, sample_rate_hz, channel_weights=channel_weights)
    gain = torch.where(loudness.isfinite(), 10 ** ((target_lufs - loudness) / 20), 1.0)
    return x * gain.to(x.dtype)[:, None, None]


def _k_weighted(x: Tensor, sample_rate_hz: int, step: int) -> Iterator[Tensor]:
    """Filtered signal in chunks of whole steps, the last one as long as it is.

    The filters are recursive. Their response has decayed below fp64 after a fraction of a second,
    so that each chunk is a product of Fourier transforms with what precedes it as its run-in.
    """
    tail = math.ceil(_DECAY_SECONDS * sample_rate_hz)
    chunk = step * 10 * _CHUNK_SECONDS
    size = 1 << (tail + min(chunk, x.shape[-1]) - 1).bit_length()
    coefficients = k_weighting(sample_rate_hz).to(x.device)
    # On the unit circle; the aliasing of the response in time is what has decayed.
    response = torch.fft.rfft(coefficients, size).prod(0)
    response = response[0] / response[1]
    for start in range(0, x.shape[-1], chunk):
        first = max(0, start - tail)
        piece = x[..., first : start + chunk].double()
        filtered = torch.fft.irfft(torch.fft.rfft(piece, size) * response, size)
        yield filtered[..., start - first : piece.shape[-1]]


def _energy_of_steps(y: Tensor, step: int) -> Tensor:
    """Sum of squares of each step, the last perhaps of a part of one."""
    padded = torch.nn.functional.pad(y, (0, -y.shape[-1] % step))
    return padded.unflatten(-1, (-1, step)).square().sum(-1)


def _gated(power: Float[Tensor, "batch blocks"]) -> Float[Tensor, " batch"]:
    loudness = _OFFSET + 10 * power.log10()
    audible = loudness > _ABSOLUTE_GATE_LUFS
    gate = _OFFSET + 10 * _mean(power, audible).log10() + _RELATIVE_GATE_LU
    gated = _OFFSET + 10 * _mean(power, audible & (loudness > gate[:, None])).log10()
    # A comparison with NaN is false, so that the gates would drop what cannot be measured.
    return torch.where(power.isfinite().all(-1), gated, torch.nan)


def _mean(power: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen blocks, 0 where there is none."""
    return torch.where(chosen, power, 0.0).sum(-1) / chosen.sum(-1).clamp_min(1)
