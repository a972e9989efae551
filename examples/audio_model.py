"""A small audio codec whose only part from vqkit is a residual quantizer, on tones made here.

Run ``uv run examples/audio_model.py``. Strided 1-D convolutions turn 16 kHz sound into 250 vectors
a second, and four levels of 256 codes quantize them. One model has four bitrates: the first n
levels decode to a coarser sound. Prints the signal-to-noise ratio of held-out sounds at each, and
writes ``spectrograms.png`` into ``--output``: a sound, and what each number of levels gives.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from vqkit.quantizers import EMA, KMeans, ReplaceUnused, Residual, VectorQuantizer

SAMPLE_RATE_HZ = 16_000
STRIDE = 64  # samples per vector
NUM_LEVELS = 4


def sounds(num: int, num_samples: int) -> Tensor:
    """Plucked harmonic tones, three at a time: ``[num, 1, num_samples]`` in [-1, 1]."""
    seconds = torch.arange(num_samples) / SAMPLE_RATE_HZ
    total = torch.zeros(num, num_samples)
    for _ in range(3):
        pitch_hz = 110.0 * 2 ** (3 * torch.rand(num, 1))
        age = (seconds - torch.rand(num, 1) * seconds[-1]).clamp_min(0)
        envelope = torch.exp(-8 * age) * (age > 0)
        for harmonic in range(1, 6):
            phase = 2 * torch.pi * torch.rand(num, 1)
            wave = torch.sin(2 * torch.pi * harmonic * pitch_hz * seconds + phase)
            total += torch.rand(num, 1) / harmonic * envelope * wave
    return 0.9 * (total / total.abs().amax(1, keepdim=True).clamp_min(0.1))[:, None]


class Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ELU(),
            nn.Conv1d(channels, channels, 7, padding=3),
            nn.ELU(),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[batch, channels, time]`` in and out."""
        return x + self.layers(x)


class AudioCodec(nn.Module):
    """Encoder, residual quantizer, decoder."""

    def __init__(self, channels: int = 96, dim: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, channels, 2 * STRIDE, STRIDE, STRIDE // 2),
            Block(channels),
            Block(channels),
            nn.Conv1d(channels, dim, 3, padding=1),
        )
        level = VectorQuantizer(
            dim, 256, update=EMA(decay=0.98), init=KMeans(), revive=ReplaceUnused()
        )
        # Half of the items of a batch use fewer levels, so that every prefix decodes well.
        self.quantizer = Residual(level, NUM_LEVELS, level_dropout=0.5)
        self.decoder = nn.Sequential(
            nn.Conv1d(dim, channels, 3, padding=1),
            Block(channels),
            Block(channels),
            nn.ConvTranspose1d(channels, 1, 2 * STRIDE, STRIDE, STRIDE // 2),
        )

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and the quantizer's loss of ``[batch, 1, samples]``."""
        output = self.quantizer(self.encoder(audio).mT)  # quantizers take channels last
        return self.decoder(output.quantized.mT), output.loss

    def encode(self, audio: Tensor) -> Tensor:
        """Indices ``[batch, vectors, levels]``."""
        return self.quantizer.encode(self.encoder(audio).mT)

    def decode(self, indices: Tensor) -> Tensor:
        """Sound of all levels, or of the first ones."""
        return self.decoder(self.quantizer.decode(indices).mT)


def snr_db(reconstruction: Tensor, audio: Tensor) -> float:
    """Signal-to-noise ratio over all samples."""
    return float(10 * torch.log10(audio.square().mean() / (audio - reconstruction).square().mean()))


def draw(rows: dict[str, Tensor], path: Path) -> None:
    """One spectrogram per sound ``[samples]``, in decibels."""
    figure = Figure(figsize=(8, 1.5 * len(rows)), layout="constrained")
    for axes, (title, sound) in zip(figure.subplots(len(rows)), rows.items(), strict=True):
        spectrum = torch.stft(sound, 512, 128, window=torch.hann_window(512), return_complex=True)
        level_db = 20 * spectrum.abs().clamp_min(1e-4).log10()[:129]
        axes.imshow(
            level_db.numpy(), origin="lower", aspect="auto", vmin=-30, vmax=35, cmap="magma"
        )
        axes.set(title=title, xticks=[], yticks=[0, 128], yticklabels=["0", "4 kHz"])
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train, then decode held-out sounds from one level, two, three and four."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--output", type=Path, default=Path("runs/examples/audio_model"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)

    held_out = sounds(16, SAMPLE_RATE_HZ)
    model = AudioCodec()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=options.steps)
    for step in range(1, options.steps + 1):
        audio = sounds(16, SAMPLE_RATE_HZ // 2)
        reconstruction, commitment = model(audio)
        distortion = F.mse_loss(reconstruction, audio)
        optimizer.zero_grad()
        (distortion + 0.01 * commitment).backward()
        optimizer.step()
        schedule.step()
        if step == 1 or step % 100 == 0:
            print(f"step {step}: SNR {snr_db(reconstruction.detach(), audio):.1f} dB")

    model.eval()
    figures, rows = {}, {"original": held_out[0, 0]}
    with torch.no_grad():
        indices = model.encode(held_out)
        for num_levels in range(1, NUM_LEVELS + 1):
            sound = model.decode(indices[..., :num_levels])
            figures[f"snr_db_{num_levels}"] = snr_db(sound, held_out)
            kbit = num_levels * 8 * SAMPLE_RATE_HZ / STRIDE / 1000
            title = f"{num_levels} levels, {kbit:g} kbit/s: {snr_db(sound, held_out):.1f} dB"
            used = indices[..., num_levels - 1].unique().numel()
            print(f"{title}, {used} of 256 codes in use at this level")
            rows[title] = sound[0, 0]
    draw(rows, options.output / "spectrograms.png")
    return figures


if __name__ == "__main__":
    main()
