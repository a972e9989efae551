"""A plain PyTorch autoencoder with one quantizer layer, trained on photos inside scikit-image.

Run ``uv run examples/plain_autoencoder.py``. No Lightning, no Hydra: a module, an optimizer and a
loop. Prints loss, PSNR and codebook usage, and writes into ``--output`` a photo that was not
trained on beside its reconstruction (``reconstruction.png``), and the quantizer layer by itself
(``quantizer.safetensors``), which is then loaded and compared.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vqkit.data import HELD_OUT_PHOTOS, Photos
from vqkit.media import write_image
from vqkit.metrics import psnr
from vqkit.quantizers import (
    EMA,
    KMeans,
    Quantizer,
    QuantizerOutput,
    ReplaceUnused,
    RotationTrick,
    VectorQuantizer,
)
from vqkit.tokenizers import build, describe

STRIDE = 4  # pixels along one side of a token


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images of features in, the same shape out."""
        return x + self.layers(x)


class Autoencoder(nn.Module):
    """Any encoder and decoder of your own; the quantizer sits between them."""

    def __init__(self, quantizer: Quantizer, channels: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(STRIDE),
            nn.Conv2d(3 * STRIDE**2, channels, 3, padding=1),
            Residual(channels),
            Residual(channels),
            nn.Conv2d(channels, quantizer.dim, 1),
        )
        self.quantizer = quantizer
        self.decoder = nn.Sequential(
            nn.Conv2d(quantizer.dim, channels, 3, padding=1),
            Residual(channels),
            Residual(channels),
            nn.Conv2d(channels, 3 * STRIDE**2, 3, padding=1),
            nn.PixelShuffle(STRIDE),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, QuantizerOutput]:
        """Reconstruction, and what the quantizer says: indices, loss, terms for logs."""
        latents = self.encoder(images).movedim(1, -1)  # quantizers take channels last
        output = self.quantizer(latents)
        return self.decoder(output.quantized.movedim(-1, 1)), output

    def encode(self, images: Tensor) -> Tensor:
        """Images to indices, int64 ``[batch, height / 4, width / 4, 1]``."""
        return self.quantizer.encode(self.encoder(images).movedim(1, -1))

    def decode(self, indices: Tensor) -> Tensor:
        """Indices to images."""
        return self.decoder(self.quantizer.decode(indices).movedim(-1, 1))


def random_crops(photos: list[Tensor], num: int, size: int = 64) -> Tensor:
    """A batch of squares from random places of random photos."""
    crops = []
    for index in torch.randint(len(photos), (num,)).tolist():
        height, width = photos[index].shape[1:]
        top = int(torch.randint(height - size + 1, ()))
        left = int(torch.randint(width - size + 1, ()))
        crops.append(photos[index][:, top : top + size, left : left + size])
    return torch.stack(crops)


def save_layer(layer: Quantizer, path: Path) -> None:
    """Weights and configuration of one layer in one file."""
    save_file(layer.state_dict(), path, metadata={"config": json.dumps(describe(layer))})


def load_layer(path: Path) -> Quantizer:
    """The layer that ``save_layer`` has written."""
    with safe_open(path, framework="pt") as file:
        layer: Quantizer = build(json.loads(file.metadata()["config"]))
        layer.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return layer.eval()


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train, encode, decode, save, load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--output", type=Path, default=Path("runs/examples/plain_autoencoder"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)

    quantizer = VectorQuantizer(
        dim=16,
        codebook_size=512,
        update=EMA(decay=0.99),
        init=KMeans(),
        revive=ReplaceUnused(),
        gradient=RotationTrick(),
    )
    model = Autoencoder(quantizer)
    photos = [photo for _, photo in Photos().items()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=options.steps)
    for step in range(1, options.steps + 1):
        images = random_crops(photos, num=16)
        reconstruction, output = model(images)
        distortion = F.mse_loss(reconstruction, images)
        loss = distortion + 0.1 * output.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step == 1 or step % 50 == 0:
            used = output.indices.unique().numel()
            print(f"step {step}: distortion {distortion:.4f}, {used} codes in the batch")

    model.eval()
    _, photo = next(iter(Photos(HELD_OUT_PHOTOS).items()))
    height, width = (side // STRIDE * STRIDE for side in photo.shape[1:])
    photo = photo[None, :, :height, :width]
    with torch.no_grad():
        crops = model.encode(random_crops(photos, num=64))
        indices = model.encode(photo)
        reconstruction = model.decode(indices).clamp(-1, 1)
        assert torch.equal(reconstruction, model(photo)[0].clamp(-1, 1))
    pair = torch.cat([photo, reconstruction], -1)[0]
    write_image(pair, options.output / "reconstruction.png", overwrite=True)
    figures = {
        "psnr_db": float(psnr(reconstruction, photo)),
        "usage": crops.unique().numel() / quantizer.codebook_size,
        "bits_per_pixel": quantizer.bits_per_position / STRIDE**2,
    }
    print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    save_layer(quantizer, options.output / "quantizer.safetensors")
    loaded = load_layer(options.output / "quantizer.safetensors")
    with torch.no_grad():
        latents = model.encoder(photo).movedim(1, -1)
    assert torch.equal(loaded.encode(latents), indices)
    print(f"the layer in {options.output}/quantizer.safetensors gives the same indices")
    return figures


if __name__ == "__main__":
    main()
