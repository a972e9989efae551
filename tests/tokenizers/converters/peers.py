"""Small models of Hugging Face transformers with random weights, no two codes equal."""

import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

DAC_STRIDES = ([2, 4, 8, 8], [2, 4, 5, 8], [3, 2])


def encodec(**changes):
    config = EncodecConfig(
        **{
            "num_filters": 4,
            "hidden_size": 16,
            "codebook_dim": 16,
            "codebook_size": 64,
            "num_lstm_layers": 1,
            "target_bandwidths": [0.9, 1.8],
        }
        | changes
    )
    model = randomised(EncodecModel(config), gain=1.4)
    with torch.no_grad():
        latents = model.encoder(noise(config.audio_channels))
    for number, layer in enumerate(model.quantizer.layers):
        place_codes(layer.codebook.embed, latents, number)
    return model


def dac(strides, **changes):
    config = DacConfig(
        encoder_hidden_size=4,
        decoder_hidden_size=32,
        downsampling_ratios=strides,
        upsampling_ratios=strides[::-1],
        n_codebooks=3,
        codebook_size=64,
        codebook_dim=4,
        **changes,
    )
    # Residual blocks and Snake let the deviation grow.
    return randomised(DacModel(config), gain=0.5)


def mimi(**changes):
    config = MimiConfig(
        **{
            "hidden_size": 32,
            "num_filters": 4,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 64,
            "num_quantizers": 4,
            "codebook_dim": 16,
            "codebook_size": 64,
            "vector_quantization_hidden_dimension": 16,
            "upsample_groups": 32,
            "sliding_window": 7,
        }
        | changes
    )
    model = randomised(MimiModel(config), gain=1.0)
    quantizer = model.quantizer
    with torch.no_grad():
        latents = model.encoder(noise(1)).latents
        for part in (
            quantizer.semantic_residual_vector_quantizer,
            quantizer.acoustic_residual_vector_quantizer,
        ):
            for number, layer in enumerate(part.layers):
                codebook = layer.codebook
                place_codes(codebook.embed_sum, part.input_proj(latents), number)
                codebook.embed_sum.mul_(codebook.cluster_usage[:, None])
    return model


def noise(channels):
    """Two seconds that grow louder, as nothing else makes frames differ much."""
    generator = torch.Generator().manual_seed(1)
    sound = torch.randn(1, channels, 48_000, generator=generator)
    return 0.3 * sound * torch.linspace(0, 1, 48_000)


@torch.no_grad()
def place_codes(codes, latents, level):
    """Where the latents are, those of later levels closer to zero."""
    generator = torch.Generator().manual_seed(level)
    drawn = torch.randn(codes.shape, generator=generator)
    centre = latents.mean(-1) if level == 0 else 0.0
    codes.copy_(centre + drawn * latents.std(-1) * 0.7**level)


@torch.no_grad()
def randomised(model, gain):
    """As if trained: codebooks start at zero, gains near it, and every code would be the first."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        leaf = name.rpartition(".")[2]
        if leaf in ("cluster_usage", "cluster_size", "alpha", "scale"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif leaf in ("embed", "embed_sum") or name.endswith("codebook.weight"):
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
        elif leaf == "weight" and value.ndim == 3:
            fan_in = value[0].numel() if "conv_t" not in name else value[:, 0].numel()
            value.copy_(torch.randn(value.shape, generator=generator) * gain * fan_in**-0.5)
    return model.eval()
