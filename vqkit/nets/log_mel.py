"""The features of speech recognisers: logarithms of mel spectra, computed from the waveform."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.waveform import require_waveform
from vqkit.ops.mel import mel_filterbank
from vqkit.ops.stft import spectrogram
from vqkit.shapes import Float, Int

__all__ = ["LogMel"]

_LEAST_POWER = 1e-10
_DECADES = 8.0


class LogMel(nn.Module):
    """Waveform to log-mel frames, as Whisper has them (arXiv 2212.04356, section 2.2).

    Power spectra of periodic Hann windows centred at multiples of the hop, Slaney's mel filters,
    decimal logarithms, cut off 8 decades below the loudest value and scaled to about [-1, 1.5].

    Args:
        sample_rate_hz: Of the waveform.
        num_mels: Features of a frame.
        window_size: Samples of a window, even.
        hop: Samples per frame.
        loudest: Logarithm of the power that the range of 8 decades lies below. None takes that of
            each sound, as Whisper does: a frame then depends on the whole sound. A number, 1.5 is
            what loud speech has, lets a stream begin before its end is known.

    Raises:
        ConfigError: Sizes that a spectrogram or mel filters cannot have.

    Example:
        >>> LogMel()(torch.zeros(1, 1, 16_000)).shape
        torch.Size([1, 80, 100])
    """

    in_channels = 1
    bank: Tensor

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        num_mels: int = 80,
        window_size: int = 400,
        hop: int = 160,
        loudest: float | None = None,
    ) -> None:
        super().__init__()
        if window_size < 2 or window_size % 2 or not 1 <= hop <= window_size:
            raise ConfigError(
                f"LogMel: expected an even window_size and 1 <= hop <= window_size, got "
                f"{window_size} and {hop}."
            )
        self.sample_rate_hz = sample_rate_hz
        self.num_mels = num_mels
        self.window_size = window_size
        self.hop = hop
        self.loudest = loudest
        bank = mel_filterbank(
            window_size // 2 + 1, sample_rate_hz, num_mels, scale="slaney", norm="slaney"
        )
        self.register_buffer("bank", bank.float(), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "batch 1 samples"],
        num_samples: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch mels frames"]:
        """``ceil(samples / hop)`` frames; silence completes the last one.

        Args:
            x: In [-1, 1].
            num_samples: Length of each sound; what follows is not looked at, and its frames are
                zero. None means all of it.

        Raises:
            ShapeError: Several channels, or no sample.
        """
        require_waveform(x, self.in_channels)
        with torch.autocast(x.device.type, enabled=False):
            sounds = F.pad(x[:, 0].float(), (0, -x.shape[-1] % self.hop))
            num_frames = sounds.shape[-1] // self.hop
            counts = torch.full((len(x),), num_frames, device=x.device)
            if num_samples is not None:
                counts = -(-num_samples // self.hop)
            spectra = spectrogram(
                _reflected(sounds, num_samples, counts * self.hop, self.window_size // 2),
                self.window_size,
                self.hop,
                padding="none",
            )[..., :num_frames]
            power = self.bank @ (spectra.real.square() + spectra.imag.square())
            logarithms = power.clamp_min(_LEAST_POWER).log10()
            valid = torch.arange(num_frames, device=x.device) < counts[:, None]
            return self._scaled(logarithms, valid[:, None])

    def _scaled(self, logarithms: Tensor, valid: Tensor) -> Tensor:
        if self.loudest is None:
            heard = torch.where(valid, logarithms, -torch.inf)
            loudest = heard.amax(dim=(1, 2), keepdim=True)
        else:
            loudest = logarithms.new_tensor(self.loudest)
        scaled = (torch.maximum(logarithms, loudest - _DECADES) + 4.0) / 4.0
        return torch.where(valid, scaled, 0.0)


def _reflected(x: Tensor, num_samples: Tensor | None, ends: Tensor, side: int) -> Tensor:
    """Both ends of each sound reflected, where it ends in the batch; silence up to ``ends``."""
    if num_samples is not None:
        x = x.masked_fill(torch.arange(x.shape[-1], device=x.device) >= num_samples[:, None], 0.0)
    places = torch.arange(-side, x.shape[-1] + side, device=x.device).abs()
    last = (ends - 1)[:, None]
    places = torch.where(places > last, 2 * last - places, places)
    # Sounds shorter than half a window are reflected once, and are followed by their first sample.
    return x.gather(1, places.clamp(0, x.shape[-1] - 1))
