"""Does scalar latent quantization disentangle? QLAE against the plain autoencoder, like for like.

``python -m benchmarks.qlae`` trains small convolutional autoencoders on drawn shapes with known
factors, with and without quantization, with and without weight decay, and measures InfoMEC
(arXiv 2305.18378). Contestants of a seed share network, initial weights, batches and steps.
``--output benchmarks/results`` keeps the tables and the picture.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.environment import as_markdown, describe_environment
from vqkit.data import FACTORS, FactorShapes
from vqkit.metrics import InfoMEC, info_mec
from vqkit.quantizers import ScalarLatent
from vqkit.training import make_optimizer

SIDE = 32
NUM_VALUES = {"shape": 3, "hue": 6, "background": 6, "scale": 3, "x": 6, "y": 6, "rotation": 1}
DIM = 2 * sum(count > 1 for count in NUM_VALUES.values())
BATCH = 128
NUM_MEASURED = 8_000
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Contestant:
    quantized: bool
    weight_decay: float

    @property
    def name(self) -> str:
        kind = "QLAE" if self.quantized else "autoencoder"
        return f"{kind}, weight decay {self.weight_decay:g}"


class Autoencoder(nn.Module):
    """Images to ``DIM`` latents and back; one vector per image, quantized or not."""

    def __init__(self, quantized: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(),
            nn.Linear(128, DIM),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(DIM, 128), nn.ReLU(), nn.Linear(128, 1024), nn.ReLU(),
            nn.Unflatten(1, (64, 4, 4)),
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(32, 3, 4, 2, 1),
        )  # fmt: skip
        # Last, so that the networks' initial weights are the same with and without it.
        self.quantizer = ScalarLatent(DIM) if quantized else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the pixels, and the quantizer's loss."""
        z = self.encoder(images)
        if self.quantizer is None:
            return self.decoder(z), z.new_zeros(())
        output = self.quantizer(z[:, None])
        return self.decoder(output.quantized[:, 0]), output.loss

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """What is measured: indices, or the real latents."""
        z = self.encoder(images)
        return z if self.quantizer is None else self.quantizer.encode(z[:, None])[:, 0]


def as_input(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def train(contestant: Contestant, images: Tensor, seed: int, steps: int) -> Autoencoder:
    """One training on 8-bit images, drawn with replacement."""
    torch.manual_seed(seed)
    model = Autoencoder(contestant.quantized)
    factory = partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=contestant.weight_decay)
    optimizer = make_optimizer(factory, model)
    batches = torch.Generator().manual_seed(seed)
    for step in range(steps):
        chosen = images[torch.randint(len(images), (BATCH,), generator=batches)]
        logits, loss = model(as_input(chosen))
        # Binary cross-entropy of pixels in [0, 1], as in the paper.
        total = F.binary_cross_entropy_with_logits(logits, chosen.float() / 255) + loss
        optimizer.zero_grad()
        total.backward()
        # QLAE's other ingredient: each element's gradient of the weights at most 1.
        nn.utils.clip_grad_value_(optimizer.param_groups[0]["params"], 1.0)
        # To zero over the last fifth.
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, 5 * (1 - step / steps))
        optimizer.step()
    return model.eval()


@torch.no_grad()
def measure(model: Autoencoder, images: Tensor, factors: Tensor) -> tuple[InfoMEC, float]:
    """InfoMEC and PSNR of images in [0, 1]."""
    latents = torch.cat([model.latents(as_input(part)) for part in images.split(1000)])
    errors = [
        (model(as_input(part))[0].sigmoid() - part.float() / 255).square().mean()
        for part in images.split(1000)
    ]
    psnr_db = float(-10 * torch.stack(errors).mean().log10())
    return info_mec(latents, factors, discrete_latents=model.quantizer is not None), psnr_db


def draw_all(shapes: FactorShapes) -> tuple[Tensor, Tensor]:
    factors = shapes.factors(torch.arange(len(shapes)))
    images = [((shapes.draw(part) + 1) * 127.5).round().byte() for part in factors.split(1000)]
    return torch.cat(images), factors
