"""A speech recogniser with a quantizer in its middle: what a supervised tokenizer is trained as."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets import SpeechEncoder, TextDecoder
from vqkit.quantizers import Quantizer, QuantizerOutput
from vqkit.shapes import Float, Int
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["RecogniserOutput", "SpeechRecogniser"]


@dataclass(frozen=True)
class RecogniserOutput:
    """What the decoder to text gets.

    Attributes:
        latent: ``[batch, dim, frames]``, quantized where there is a quantizer.
        num_frames: Length of each item; frames after it mean nothing.
        quantizer: The quantizer's output, index -1 after the end of an item; None without one.
    """

    latent: Tensor
    num_frames: Tensor
    quantizer: QuantizerOutput | None


@final
class SpeechRecogniser(nn.Module):
    """Encoder, quantizer, decoder to text (arXiv 2411.17607, section 2.1).

    Args:
        frontend: The border of sounds, at the rate of the encoder's features.
        encoder: Waveform to latent frames.
        quantizer: Of the latent frames; None leaves them as they are, for comparison.
        decoder: Latent frames to text.
        name: Id of the tokenizer.

    Raises:
        ConfigError: The parts do not fit each other.

    Example:
        >>> from vqkit.nets import ConvLayers, CTCDecoder, LogMel, SpeechContext
        >>> from vqkit.quantizers import VectorQuantizer
        >>> recogniser = SpeechRecogniser(
        ...     AudioFrontend(16_000),
        ...     SpeechEncoder(LogMel(), ConvLayers(8, 1, 16)),
        ...     VectorQuantizer(8, 16),
        ...     CTCDecoder(SpeechContext(ConvLayers(8, 1, 16)), "ab"),
        ... )
        >>> recogniser.tokenizer.encode([torch.zeros(1, 16_000)]).indices.shape
        torch.Size([1, 13, 1])
    """

    def __init__(
        self,
        frontend: AudioFrontend,
        encoder: SpeechEncoder,
        quantizer: Quantizer | None,
        decoder: TextDecoder,
        name: str = "unnamed",
    ) -> None:
        super().__init__()
        rate = encoder.features.sample_rate_hz
        if frontend.sample_rate_hz != rate or encoder.dim != decoder.dim:
            raise ConfigError(
                f"SpeechRecogniser: expected the features' rate of {rate} Hz and a decoder of dim "
                f"{encoder.dim}, got {frontend.sample_rate_hz} Hz and {decoder.dim}."
            )
        self.frontend = frontend
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.name = name
        if quantizer is not None:
            Tokenizer(frontend, encoder, quantizer, decoder)  # refuses parts that do not fit

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the same parts, not copies.

        Raises:
            ConfigError: There is no quantizer.
        """
        if self.quantizer is None:
            raise ConfigError(f"Recogniser {self.name!r}: without a quantizer it has no tokens.")
        tokenizer = Tokenizer(self.frontend, self.encoder, self.quantizer, self.decoder, self.name)
        tokenizer.training = self.training
        return tokenizer

    def forward(
        self,
        waveforms: Float[Tensor, "batch channels samples"],
        num_samples: Int[Tensor, " batch"],
    ) -> RecogniserOutput:
        """Encode and quantize a batch of sounds of different lengths, each followed by padding."""
        latent = self.encoder(waveforms, num_samples)
        num_frames = -(-num_samples // self.encoder.stride[0])
        if self.quantizer is None:
            return RecogniserOutput(latent, num_frames, None)
        valid = torch.arange(latent.shape[-1], device=latent.device) < num_frames[:, None]
        output = self.quantizer(latent.mT, valid)
        return RecogniserOutput(output.quantized.mT, num_frames, output)

    @torch.no_grad()
    def transcribe(self, sounds: Sequence[Tensor], sample_rate_hz: int | None = None) -> list[str]:
        """Text of sounds ``[channels, samples]`` of any rate, through their tokens if it has any.

        Raises:
            ConfigError: A rate that no sound has.
            ShapeError: No sound, or values outside [-1, 1].
        """
        if self.quantizer is not None:
            tokenizer = self.tokenizer
            return tokenizer.transcribe(tokenizer.encode(sounds, sample_rate_hz=sample_rate_hz))
        was_training = self.training
        self.eval()
        texts = []
        device = self.encoder.conv1.weight.device
        for sound in sounds:
            prepared, _ = self.frontend.prepare(
                sound.to(device, torch.float32), self.encoder.stride, sample_rate_hz
            )
            texts += (
                self.decoder.transcribe(self.encoder(prepared[None])) if prepared.numel() else [""]
            )
        self.train(was_training)
        return texts
