"""A tokenizer that trains in milliseconds, and data that need no file."""

from functools import partial

import torch
from torch import Tensor, nn

from vqkit.data import ImageDataModule, RandomCrop
from vqkit.data.source import ImageSource
from vqkit.losses import L1, AdversarialSchedule
from vqkit.metrics import PSNR
from vqkit.nets import PatchDiscriminator
from vqkit.quantizers import EMA, KMeans, Quantizer, ReplaceUnused, VectorQuantizer
from vqkit.tokenizers import ImageFrontend, Tokenizer
from vqkit.training import (
    Adversary,
    Optimization,
    TokenizerTraining,
    WeightedLoss,
    make_trainer,
)

SIDE = 32


class TinyEncoder(nn.Module):
    def __init__(self, dim: int = 4):
        super().__init__()
        self.in_channels, self.dim, self.stride = 3, dim, (4, 4)
        self.conv = nn.Conv2d(3, dim, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class TinyDecoder(nn.Module):
    def __init__(self, dim: int = 4):
        super().__init__()
        self.out_channels, self.dim, self.stride = 3, dim, (4, 4)
        self.conv = nn.ConvTranspose2d(dim, 3, 4, stride=4)

    @property
    def last_layer(self) -> Tensor:
        return self.conv.weight

    def forward(self, latent: Tensor) -> Tensor:
        return self.conv(latent)


class Gradients(ImageSource):
    """Smooth random pictures, each drawn from its number."""

    def __init__(self, num_images: int = 8):
        super().__init__(num_images)

    def name(self, index: int) -> str:
        return f"gradient_{index}"

    def load(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(index)
        coarse = torch.rand(1, 3, 5, 5, generator=generator) * 2 - 1
        return nn.functional.interpolate(coarse, (48, 48), mode="bilinear")[0]


def vector_quantizer(dim: int = 4) -> Quantizer:
    return VectorQuantizer(
        dim, 16, update=EMA(decay=0.9), init=KMeans(iterations=3), revive=ReplaceUnused(window=4.0)
    )


def tokenizer(quantizer: Quantizer | None = None) -> Tokenizer:
    return Tokenizer(
        ImageFrontend(), TinyEncoder(), quantizer or vector_quantizer(), TinyDecoder(), "tiny"
    )


def adversary(**options) -> Adversary:
    settings = {
        "schedule": AdversarialSchedule(start_step=2, ramp_steps=2, discriminator_start_step=1),
        "lecam_weight": 0.1,
        **options,
    }
    return Adversary(
        PatchDiscriminator(base_width=16, num_layers=1, norm=settings.pop("norm", "batch")),
        partial(torch.optim.Adam, lr=1e-3),
        **settings,
    )


def optimization(**options) -> Optimization:
    adam = partial(torch.optim.Adam, lr=1e-2)
    settings = {"factory": adam, "average_decay": 0.9, "clip_norm": 1.0, **options}
    return Optimization(**settings)


def training(max_steps: int, *, gan: bool = True, **options) -> TokenizerTraining:
    torch.manual_seed(3)
    settings = {
        "optimization": optimization(),
        "log_every": 2,
        "adversary": adversary() if gan else None,
        "validation": {"psnr_db": PSNR()},
        **options,
    }
    return TokenizerTraining(
        settings.pop("tokenizer", None) or tokenizer(),
        {"pixel": WeightedLoss(L1())},
        settings.pop("optimization"),
        max_steps,
        **settings,
    )


def data(batch_size: int = 4, **options) -> ImageDataModule:
    return ImageDataModule(
        Gradients(), RandomCrop(SIDE), validation=Gradients(3), batch_size=batch_size, **options
    )


def trainer(**options):
    return make_trainer(**{"accelerator": "cpu", "devices": 1, "validate_every": 1000, **options})
