"""A tokenizer of sounds without a network: samples in coarse levels, each refined by the next."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.metrics.sounds import RATE_HZ, noisy, voice
from vqkit.media import Audio
from vqkit.ops import resample
from vqkit.tokenizers.spec import TokenizerSpec
from vqkit.tokenizers.tokens import Tokens, TokenStream


class CoarseSamples:
    """Three levels of four values a sample: 6 bits in all, and fewer from the first of them."""

    def __init__(self, sample_rate_hz: int = RATE_HZ) -> None:
        self.sample_rate_hz = sample_rate_hz

    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(
            name="test/coarse-samples",
            modality="audio",
            channels=1,
            axes=("time",),
            strides=(1,),
            codebook_sizes=(4, 4, 4),
            fingerprint="c" * 32,
            sample_rate_hz=self.sample_rate_hz,
        )

    def encode(self, media: Sequence[Tensor], *, sample_rate_hz: int | None = None) -> Tokens:
        rate_hz = sample_rate_hz or self.sample_rate_hz
        return Tokens.stack([self._encode(sound, rate_hz) for sound in media])

    def decode(self, tokens: Tokens) -> list[Tensor]:
        sounds = []
        for number, size in enumerate(tokens.media):
            indices = tokens.item(number).indices[0]
            steps = 2.0 / 4 ** torch.arange(1, indices.shape[-1] + 1)
            sound = -1 + (indices * steps).sum(dim=-1) + steps[-1] / 2
            sound = resample(sound[None], self.sample_rate_hz, size["sample_rate_hz"])
            sounds.append(sound[:, : size["samples"]].expand(size["channels"], -1))
        return sounds

    def _encode(self, sound: Tensor, rate_hz: int) -> Tokens:
        mono = resample(sound.mean(dim=0), rate_hz, self.sample_rate_hz)
        levels = ((mono + 1) / 2 * 64).long().clamp(0, 63)
        digits = torch.stack((levels // 16, levels // 4 % 4, levels % 4), dim=-1)[None]
        size = {
            "samples": sound.shape[-1],
            "sample_rate_hz": rate_hz,
            "channels": sound.shape[0],
        }
        stream = TokenStream(digits, self.spec.codebook_sizes, self.spec.axes)
        return Tokens({"tokens": stream}, (size,), "audio", self.spec.name, self.spec.fingerprint)


def sounds(count: int, seconds: float = 0.2) -> list[tuple[str, Audio]]:
    """Different voices with some noise, the same on every call."""
    return [
        (
            f"voice {number}.wav",
            Audio(noisy(voice(seconds, 90.0 + 40 * number)[0], 0.003).clamp(-1, 1), RATE_HZ),
        )
        for number in range(count)
    ]
