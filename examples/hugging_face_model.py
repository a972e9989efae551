"""A Hugging Face model with one quantizer layer, and a GPT-2 over its tokens.

Run ``uv run examples/hugging_face_model.py``. A small ViT turns scikit-learn's 8x8 pictures of
digits into 16 tokens each; SimVQ quantizes its hidden states. The configuration of the quantizer is
part of the model's, so that ``save_pretrained`` and ``from_pretrained`` need nothing else. A tiny
GPT-2 then learns the tokens, given the digit, and draws digits of its own. Writes into ``--output``
the folder ``model`` and ``digits.png``: pictures, their reconstructions, and what GPT-2 drew.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedConfig,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)

from vqkit.media import write_image
from vqkit.quantizers import Quantizer, SimVQ
from vqkit.tokenizers import build, describe

NUM_DIGITS = 10
NUM_TOKENS = 16  # 4x4 patches of 2x2 pixels


class QuantizedViTConfig(PreTrainedConfig):
    """Sizes of the ViT, and the quantizer as ``describe(quantizer)`` gives it."""

    model_type = "quantized_vit"
    image_size: int = 8
    patch_size: int = 2
    hidden_size: int = 64
    num_layers: int = 2
    quantizer: dict[str, Any] | None = None


class QuantizedViT(PreTrainedModel):
    """A ViT whose hidden states are quantized, and a transformer that turns them into pixels."""

    config_class = QuantizedViTConfig
    main_input_name = "pixel_values"

    def __init__(self, config: QuantizedViTConfig) -> None:
        super().__init__(config)
        vit = ViTConfig(
            image_size=config.image_size,
            patch_size=config.patch_size,
            num_channels=1,
            hidden_size=config.hidden_size,
            intermediate_size=2 * config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=4,
        )
        self.encoder = ViTModel(vit, add_pooling_layer=False)
        self.quantizer: Quantizer = build(config.quantizer)
        self.project_in = nn.Linear(config.hidden_size, self.quantizer.dim)
        self.project_out = nn.Linear(self.quantizer.dim, config.hidden_size)
        layer = nn.TransformerEncoderLayer(
            config.hidden_size, 4, 2 * config.hidden_size, dropout=0.0, batch_first=True
        )
        self.position = nn.Embedding(NUM_TOKENS, config.hidden_size)
        self.decoder = nn.TransformerEncoder(layer, config.num_layers)
        self.to_pixels = nn.Linear(config.hidden_size, config.patch_size**2)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # A quantizer draws its own weights: transformers' 0.02 would squeeze its codes together.
        if all(module is not part for part in self.quantizer.modules()):
            super()._init_weights(module)

    def latents(self, pixel_values: Tensor) -> Tensor:
        """What is quantized: ``[batch, tokens, dim]``, without the class token."""
        return self.project_in(self.encoder(pixel_values).last_hidden_state[:, 1:])

    def pixels(self, quantized: Tensor) -> Tensor:
        """The images ``[batch, 1, height, width]`` of quantized vectors."""
        hidden = self.decoder(self.project_out(quantized) + self.position.weight)
        size = self.config.image_size, self.config.patch_size
        return F.fold(self.to_pixels(hidden).mT, size[0], size[1], stride=size[1])

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Loss, reconstruction and indices, as the Trainer of transformers wants them."""
        output = self.quantizer(self.latents(pixel_values))
        reconstruction = self.pixels(output.quantized)
        loss = F.mse_loss(reconstruction, pixel_values) + output.loss
        return {"loss": loss, "reconstruction": reconstruction, "indices": output.indices}


def train(model: nn.Module, data: list[Tensor], names: list[str], steps: int) -> list[float]:
    """A plain loop over random batches: ``names`` are the arguments that ``data`` are given as."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    losses = []
    for step in range(1, steps + 1):
        batch = torch.randint(len(data[0]), (128,))
        loss = model(**{name: part[batch] for name, part in zip(names, data, strict=True)})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step == 1 or step % 100 == 0:
            print(f"{type(model).__name__} step {step}: loss {losses[-1]:.4f}")
    return losses


def unigram_entropy(tokens: Tensor, size: int, held_out: Tensor) -> float:
    """Nats per held-out token under the frequencies of the others, positions aside."""
    probability = (tokens.flatten().bincount(minlength=size) + 1) / (tokens.numel() + size)
    return -probability.log()[held_out].mean().item()


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Train the tokenizer, save and load it, train GPT-2 on its tokens, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="for either model")
    parser.add_argument("--output", type=Path, default=Path("runs/examples/hugging_face_model"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(digits.target)
    num_train = 1500

    config = QuantizedViTConfig(quantizer=describe(SimVQ(dim=16, codebook_size=64)))
    model = QuantizedViT(config)
    tokenizer_losses = train(model, [images[:num_train]], ["pixel_values"], options.steps)
    model.save_pretrained(options.output / "model")
    loaded = QuantizedViT.from_pretrained(options.output / "model").eval()
    with torch.no_grad():
        result = loaded(images)
        assert torch.equal(model.eval()(images)["indices"], result["indices"])
    print(f"{options.output}/model, loaded again, gives the same indices")

    # GPT-2's vocabulary: the codes, then ten words for the digit that a sentence begins with.
    size = loaded.quantizer.codebook_sizes[0]
    sentences = torch.cat([size + labels[:, None], result["indices"][..., 0]], dim=1)
    gpt = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=size + NUM_DIGITS,
            n_positions=NUM_TOKENS + 1,
            n_embd=64,
            n_layer=2,
            n_head=4,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    train(gpt, [sentences[:num_train]] * 2, ["input_ids", "labels"], options.steps)
    held_out = sentences[num_train:]
    with torch.no_grad():
        nats = gpt.eval()(input_ids=held_out, labels=held_out).loss.item()
    drawn = gpt.generate(
        size + torch.arange(NUM_DIGITS)[:, None],
        do_sample=True,
        max_new_tokens=NUM_TOKENS,
        suppress_tokens=list(range(size, size + NUM_DIGITS)),
    )
    with torch.no_grad():
        drawings = loaded.pixels(loaded.quantizer.decode(drawn[:, 1:, None]))
    shown = [int((labels[num_train:] == d).nonzero()[0]) + num_train for d in range(NUM_DIGITS)]
    rows = [images[shown], result["reconstruction"][shown], drawings.clamp(-1, 1)]
    picture = torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
    large = picture.repeat_interleave(8, dim=-1).repeat_interleave(8, dim=-2)
    write_image(large.expand(3, -1, -1), options.output / "digits.png", overwrite=True)
    error = F.mse_loss(result["reconstruction"][num_train:], images[num_train:]).item()
    figures = {
        "first_loss": tokenizer_losses[0],
        "last_loss": tokenizer_losses[-1],
        "held_out_error": error,
        "usage": result["indices"].unique().numel() / size,
        "gpt_nats": nats,
        "unigram_nats": unigram_entropy(sentences[:num_train, 1:], size, held_out[:, 1:]),
    }
    print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    return figures


if __name__ == "__main__":
    main()
