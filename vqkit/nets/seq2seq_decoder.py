"""Text by a transformer that writes it character by character and looks at the latent frames."""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.frame_layers import FrameAttention, perceptron
from vqkit.nets.text_decoder import (
    SpeechContext,
    TextDecoder,
    check_characters,
    encode_characters,
)
from vqkit.shapes import Float, Int

__all__ = ["Seq2SeqDecoder"]

_NO_TARGET = -100


@final
class Seq2SeqDecoder(TextDecoder):
    """Latent frames to text: a small transformer writes it, built as Whisper's (arXiv 2212.04356).

    A character is predicted from those before it and from all latent frames. One more symbol
    stands at the beginning of a text and ends it.

    Args:
        context: Layers over the latent frames.
        characters: What texts are made of, each once.
        num_layers: Layers of the decoder.
        num_heads: Heads of attention, which divide the width of the latents.
        max_length: Characters of a text.

    Raises:
        ConfigError: A character twice, or none; sizes below 1.

    Example:
        >>> from vqkit.nets import ConvLayers, SpeechContext
        >>> decoder = Seq2SeqDecoder(SpeechContext(ConvLayers(8, 1, 16)), "ab", 1, 2)
        >>> decoder(torch.zeros(2, 8, 5), torch.zeros(2, 3, dtype=torch.int64)).shape
        torch.Size([2, 3, 3])
    """

    def __init__(
        self,
        context: SpeechContext,
        characters: str,
        num_layers: int = 2,
        num_heads: int = 4,
        max_length: int = 448,
    ) -> None:
        super().__init__()
        check_characters(characters)
        if min(num_layers, num_heads, max_length) < 1 or context.dim % num_heads:
            raise ConfigError(
                "Seq2SeqDecoder: expected sizes >= 1 and heads that divide the width of "
                f"{context.dim}, got num_layers {num_layers}, num_heads {num_heads}, max_length "
                f"{max_length}."
            )
        self.context = context
        self.characters = characters
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.max_length = max_length
        self.dim = context.dim
        self.symbols = nn.Embedding(len(characters) + 1, self.dim)
        self.position_table = nn.Parameter(torch.zeros(max_length + 1, self.dim))
        self.layers = nn.ModuleList(_Layer(self.dim, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(self.dim)
        nn.init.normal_(self.symbols.weight, std=self.dim**-0.5)

    def forward(
        self,
        latent: Float[Tensor, "batch dim frames"],
        written: Int[Tensor, "batch length"],
        num_frames: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch length symbols"]:
        """Scores of the next symbol after each that was written; the end comes last of all."""
        heard = self.context(latent, num_frames)
        return self._scores(heard, self._heard_frames(heard, num_frames), written)

    def transcript_loss(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"],
        transcripts: Sequence[str],
    ) -> Float[Tensor, ""]:
        """Cross-entropy of each character and of the end, given those before, in nats.

        Raises:
            ConfigError: A text with other characters, or a longer one.
        """
        texts = [encode_characters(t, self.characters, latent.device) for t in transcripts]
        longest = max(len(text) for text in texts)
        if longest > self.max_length:
            raise ConfigError(
                f"Transcript of {longest} characters: expected at most {self.max_length}. Raise "
                "max_length of the decoder."
            )
        end = len(self.characters)
        shape = (len(texts), longest + 1)
        written = latent.new_full(shape, end, dtype=torch.int64)
        targets = latent.new_full(shape, _NO_TARGET, dtype=torch.int64)
        for row, text in enumerate(texts):
            written[row, 1 : len(text) + 1] = text
            targets[row, : len(text)] = text
            targets[row, len(text)] = end
        scores = self(latent, written, num_frames).float()
        return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=_NO_TARGET)

    @torch.no_grad()
    def transcribe(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"] | None = None,
    ) -> list[str]:
        """The likeliest next character until the end, or until there is no room for more."""
        heard = self.context(latent, num_frames)
        seen = self._heard_frames(heard, num_frames)
        end = len(self.characters)
        written = torch.full((len(latent), 1), end, device=latent.device)
        ended = torch.zeros(len(latent), dtype=torch.bool, device=latent.device)
        for _ in range(self.max_length):
            best = self._scores(heard, seen, written)[:, -1].argmax(-1)
            ended |= best == end
            if bool(ended.all()):
                break
            written = torch.cat([written, torch.where(ended, end, best)[:, None]], dim=1)
        return [
            "".join(self.characters[s] for s in row if s != end) for row in written[:, 1:].tolist()
        ]

    def _scores(self, heard: Tensor, seen: Tensor | None, written: Tensor) -> Tensor:
        length = written.shape[1]
        x = self.symbols(written) + self.position_table[:length]
        earlier = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        for layer in self.layers:
            x = layer(x, heard, earlier, seen)
        return F.linear(self.norm(x), self.symbols.weight)

    def _heard_frames(self, heard: Tensor, num_frames: Tensor | None) -> Tensor | None:
        if num_frames is None:
            return None
        places = torch.arange(heard.shape[1], device=heard.device)
        # An item without any frame is given its first: a softmax needs something.
        return (places < num_frames.clamp_min(1)[:, None])[:, None, None, :]


class _Layer(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = FrameAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attention = FrameAttention(dim, num_heads)
        self.norm3 = nn.LayerNorm(dim)
        self.perceptron = perceptron(dim, 4 * dim)

    def forward(self, x: Tensor, heard: Tensor, earlier: Tensor, seen: Tensor | None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, earlier)
        x = x + self.cross_attention(self.norm2(x), heard, seen)
        out: Tensor = x + self.perceptron(self.norm3(x))
        return out
