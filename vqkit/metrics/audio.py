"""Audio against a reference, sample by sample: SI-SDR, SNR and L1, one fp64 value per item."""

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Bool, Float

__all__ = [
    "SDR_CAP_DB",
    "SILENCE_RMS",
    "checked_audio",
    "is_silent",
    "si_sdr",
    "snr",
    "waveform_l1",
]

SDR_CAP_DB = 100.0
"""Ratio of a reconstruction without error, and the most that any is given; its negative is the
least."""

SILENCE_RMS = 1e-8
"""Root mean square (-160 dB of full scale) below which an item is silent: a twelfth of the step of
24-bit audio."""


def si_sdr(
    reconstruction: Float[Tensor, "batch channels samples"],
    target: Float[Tensor, "..."],
    *,
    zero_mean: bool = True,
    cap_db: float = SDR_CAP_DB,
) -> Float[Tensor, " batch"]:
    """Scale-invariant signal-to-distortion ratio of each item in dB (Le Roux et al. 2019, eq. 3).

    ``10 log10(|a s|² / |a s - r|²)`` with ``a = <r, s> / |s|²``: the target ``s`` is scaled to
    what of it is in the reconstruction ``r``, the rest counts as distortion. All channels of an
    item are one vector with one gain and one mean. Neither loudness nor polarity matters; a shift
    by a single sample does. Ratios are kept in ``[-cap_db, cap_db]``: a perfect copy gets
    ``cap_db``, a silent reconstruction ``-cap_db``. A silent target has no ratio: NaN.

    Args:
        reconstruction: audio in [-1, 1].
        target: of the same shape.
        zero_mean: take the mean off both first, as the paper, DAC and most others do;
            torchmetrics' default is not to.
        cap_db: largest magnitude of a ratio.

    Raises:
        ShapeError: the shapes differ, an item is empty or a value is not finite.

    Example:
        >>> target = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
        >>> orthogonal = torch.tensor([[[0.5, 0.5, -0.5, -0.5]]])
        >>> round(si_sdr(target + orthogonal, target).item(), 4)  # 10 log10(4)
        6.0206
    """
    reconstruction, target = checked_audio(reconstruction, target)
    unheard = is_silent(reconstruction, zero_mean=zero_mean)
    undefined = is_silent(target, zero_mean=zero_mean)
    reconstruction, target = reconstruction.flatten(1), target.flatten(1)
    if zero_mean:
        reconstruction = reconstruction - reconstruction.mean(dim=1, keepdim=True)
        target = target - target.mean(dim=1, keepdim=True)
    gain = (reconstruction * target).sum(dim=1) / target.square().sum(dim=1)
    scaled = gain[:, None] * target
    ratio = _decibels(scaled, scaled - reconstruction, cap_db)
    return ratio.masked_fill(unheard, -cap_db).masked_fill(undefined, torch.nan)


def snr(
    reconstruction: Float[Tensor, "batch channels samples"],
    target: Float[Tensor, "..."],
    *,
    cap_db: float = SDR_CAP_DB,
) -> Float[Tensor, " batch"]:
    """Signal-to-noise ratio of each item in dB: ``10 log10(|s|² / |s - r|²)``.

    Loudness counts, and so does the mean; a silent reconstruction has 0 dB. Ratios are kept in
    ``[-cap_db, cap_db]``, and a silent target has none: NaN.

    Raises:
        ShapeError: the shapes differ, an item is empty or a value is not finite.

    Example:
        >>> target = torch.tensor([[[1.0, -1.0]]])
        >>> snr(torch.zeros(1, 1, 2), target).item(), snr(target, target).item()
        (0.0, 100.0)
    """
    reconstruction, target = checked_audio(reconstruction, target)
    ratio = _decibels(target.flatten(1), (target - reconstruction).flatten(1), cap_db)
    return ratio.masked_fill(is_silent(target, zero_mean=False), torch.nan)


def waveform_l1(
    reconstruction: Float[Tensor, "batch channels samples"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, " batch"]:
    """Mean absolute difference of the samples of each item, in [0, 2] for audio in [-1, 1].

    Raises:
        ShapeError: the shapes differ, an item is empty or a value is not finite.
    """
    reconstruction, target = checked_audio(reconstruction, target)
    return (reconstruction - target).abs_().mean(dim=(1, 2))


def is_silent(
    audio: Float[Tensor, "batch channels samples"], *, zero_mean: bool = True
) -> Bool[Tensor, " batch"]:
    """Whether the root mean square of an item, less its mean, is below ``SILENCE_RMS``."""
    values = audio.double().flatten(1)
    if zero_mean:
        values = values - values.mean(dim=1, keepdim=True)
    return values.square().mean(dim=1).sqrt_() < SILENCE_RMS


def checked_audio(reconstruction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in fp64, or the reason why they cannot be compared."""
    if reconstruction.ndim != 3 or reconstruction.shape != target.shape:
        raise ShapeError(
            "Comparing audio failed: expected two tensors [batch, channels, samples] of one "
            f"shape, got a reconstruction of {tuple(reconstruction.shape)} and a target of "
            f"{tuple(target.shape)}. Cut the reconstruction to the length of the original."
        )
    if 0 in target.shape[1:]:
        raise ShapeError(
            "Comparing audio failed: expected at least one channel and one sample, got "
            f"{tuple(target.shape)}. Leave empty items out."
        )
    for name, audio in (("reconstruction", reconstruction), ("target", target)):
        if not torch.isfinite(audio).all():
            raise ShapeError(
                "Comparing audio failed: expected finite values, got NaN or infinity (in the "
                f"{name}). Look for the step that diverged."
            )
    # Apple's GPUs have no fp64.
    device = torch.device("cpu") if target.device.type == "mps" else target.device
    return (
        reconstruction.detach().to(device, torch.float64),
        target.detach().to(device, torch.float64),
    )


def _decibels(signal: Tensor, noise: Tensor, cap_db: float) -> Tensor:
    """Ratio of the energies of the rows, NaN where both are 0."""
    energies = [values.square().sum(dim=1) for values in (signal, noise)]
    return (10 * torch.log10(energies[0] / energies[1])).clamp(-cap_db, cap_db)
