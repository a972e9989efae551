"""Distillation: the first codebook of a codec learns what a model of speech knows."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.losses import DistillationLoss
from vqkit.ops import resample
from vqkit.shapes import Float

__all__ = ["Distillation"]

Teacher = Callable[[Tensor], Tensor]


class Distillation(nn.Module):
    """Draws a linear map of the first codebook's output to the features of a teacher.

    Mimi (Moshi, arXiv 2410.00037, section 3.3): WavLM at 16 kHz, 50 frames per second averaged by
    kernel 8 and stride 4 to 12.5, ``CosineDistance``. SpeechTokenizer (arXiv 2308.16692): the mean
    of HuBERT's layers as they are (kernel and stride 1), ``LogSigmoidCosine``, weight 120.

    Args:
        teacher: Mono waveforms ``[batch, samples]`` to features ``[batch, frames, teacher_dim]``:
            any callable. A module is put into evaluation, moved to where it is needed, and neither
            trained nor written into checkpoints.
        dim: Features of the quantizer's output.
        teacher_dim: Features of the teacher.
        loss: How features are compared.
        weight: Factor of the loss.
        sample_rate_hz: Of the training sounds.
        teacher_rate_hz: Of the waveforms that the teacher takes.
        kernel: Frames of the teacher in a mean.
        stride: Frames of the teacher per latent frame.

    Raises:
        ConfigError: Sizes below 1, a kernel below the stride, or a negative weight.

    Example:
        >>> from vqkit.losses import CosineDistance
        >>> teacher = lambda x: x.unfold(1, 320, 320)[..., :4]
        >>> distillation = Distillation(teacher, 8, 4, CosineDistance(), sample_rate_hz=16_000)
        >>> distillation(torch.randn(2, 12, 8), torch.randn(2, 1, 15_360)).shape
        torch.Size([])
    """

    def __init__(
        self,
        teacher: Teacher,
        dim: int,
        teacher_dim: int,
        loss: DistillationLoss,
        *,
        weight: float = 1.0,
        sample_rate_hz: int = 24_000,
        teacher_rate_hz: int = 16_000,
        kernel: int = 8,
        stride: int = 4,
    ) -> None:
        super().__init__()
        if min(dim, teacher_dim, sample_rate_hz, teacher_rate_hz, stride) < 1 or (
            kernel < stride or weight < 0
        ):
            raise ConfigError(
                "Distillation: expected sizes and rates >= 1, kernel >= stride and weight >= 0, "
                f"got dim {dim}, teacher_dim {teacher_dim}, rates {sample_rate_hz} and "
                f"{teacher_rate_hz}, kernel {kernel}, stride {stride}, weight {weight}."
            )
        # In a tuple: a submodule would be trained, averaged and saved with every checkpoint.
        self._teacher = (teacher,)
        self.dim = dim
        self.teacher_dim = teacher_dim
        self.loss = loss
        self.weight = weight
        self.sample_rate_hz = sample_rate_hz
        self.teacher_rate_hz = teacher_rate_hz
        self.kernel = kernel
        self.stride = stride
        self.map = nn.Linear(dim, teacher_dim)
        if isinstance(teacher, nn.Module):
            teacher.eval().requires_grad_(False)

    @property
    def teacher(self) -> Teacher:
        """What is learned from."""
        return self._teacher[0]

    def forward(
        self,
        first: Float[Tensor, "batch frames dim"],
        waveform: Float[Tensor, "batch channels samples"],
    ) -> Float[Tensor, ""]:
        """Unweighted loss, fp32.

        Args:
            first: ``QuantizerOutput.first``, the output of the first codebook.
            waveform: What was encoded, in [-1, 1].

        Raises:
            ShapeError: The teacher has other features, or its frames come at another rate.
        """
        target = self.target(waveform)
        mapped = self.map(first)
        frames = min(mapped.shape[1], target.shape[1])
        # Teachers without padding are a frame short.
        if (
            max(mapped.shape[1], target.shape[1]) - frames > 1
            or target.shape[2] != self.teacher_dim
        ):
            raise ShapeError(
                f"Distillation: expected [batch, {first.shape[1]}, {self.teacher_dim}] of the "
                f"teacher after averaging, a frame more or less, got {list(target.shape)}. Set "
                "kernel, stride and teacher_dim to what it gives."
            )
        return self.loss(mapped[:, :frames], target[:, :frames])

    @torch.no_grad()
    def target(
        self, waveform: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch frames teacher_dim"]:
        """The teacher's features at the rate of the latent frames."""
        mono = resample(waveform.float().mean(1), self.sample_rate_hz, self.teacher_rate_hz)
        if isinstance(self.teacher, nn.Module):
            self.teacher.to(waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            features = self.teacher(mono).float()
        averaged = F.avg_pool1d(
            features.mT,
            self.kernel,
            self.stride,
            padding=(self.kernel - self.stride) // 2,
            ceil_mode=True,
            count_include_pad=False,
        )
        return averaged.mT
