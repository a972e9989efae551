"""Text by connectionist temporal classification: each latent frame says a character or nothing."""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nets.text_decoder import (
    SpeechContext,
    TextDecoder,
    check_characters,
    encode_characters,
)
from vqkit.shapes import Float, Int

__all__ = ["CTCDecoder"]

_BLANK = 0


@final
class CTCDecoder(TextDecoder):
    """Latent frames to text: a character or nothing at each step (Graves et al., ICML 2006).

    At 12.5 frames per second a fast speaker says more than a frame's worth of characters: each
    latent frame therefore has ``steps_per_frame`` places for one.

    Args:
        context: Layers over the latent frames.
        characters: What texts are made of, each once.
        steps_per_frame: Places for a character in a latent frame.

    Raises:
        ConfigError: A character twice, or none.

    Example:
        >>> from vqkit.nets import ConvLayers, SpeechContext
        >>> decoder = CTCDecoder(SpeechContext(ConvLayers(8, 1, 16)), characters="ab")
        >>> decoder(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 10, 3])
    """

    def __init__(self, context: SpeechContext, characters: str, steps_per_frame: int = 2) -> None:
        super().__init__()
        check_characters(characters)
        self.context = context
        self.characters = characters
        self.steps_per_frame = steps_per_frame
        self.dim = context.dim
        self.head = nn.Linear(self.dim, steps_per_frame * (1 + len(characters)))

    def forward(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch steps symbols"]:
        """Scores of nothing, then of each character, at every step."""
        scores: Tensor = self.head(self.context(latent, num_frames))
        return scores.unflatten(-1, (self.steps_per_frame, -1)).flatten(1, 2)

    def transcript_loss(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"],
        transcripts: Sequence[str],
    ) -> Float[Tensor, ""]:
        """Mean over the items, in nats per character; a text that does not fit counts nothing.

        Raises:
            ConfigError: A text with other characters.
        """
        targets = [encode_characters(t, self.characters, latent.device) + 1 for t in transcripts]
        lengths = torch.tensor([len(t) for t in targets], device=latent.device)
        logits = self(latent, num_frames).float()
        losses = F.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1),
            torch.cat(targets),
            num_frames * self.steps_per_frame,
            lengths,
            blank=_BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return (losses / lengths.clamp_min(1)).mean()

    @torch.no_grad()
    def transcribe(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"] | None = None,
    ) -> list[str]:
        """The likeliest symbol of each step, repetitions once, nothing left out."""
        best = self(latent, num_frames).argmax(-1)
        texts = []
        for number, row in enumerate(best):
            if num_frames is not None:
                row = row[: int(num_frames[number]) * self.steps_per_frame]
            symbols = torch.unique_consecutive(row).tolist()
            texts.append("".join(self.characters[s - 1] for s in symbols if s != _BLANK))
        return texts
