"""The same latents, tokens and pixels as diffusers' ``AutoencoderVidTok``, and back again."""

import pytest
import torch
from diffusers import AutoencoderVidTok

from vqkit.errors import ConfigError
from vqkit.nets import SteppedStream, VidTokDecoder, VidTokEncoder, open_stream
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer, VideoFrontend
from vqkit.tokenizers.converters import (
    read_foreign,
    vidtok_from_diffusers,
    vidtok_from_original,
    vidtok_to_diffusers,
    write_diffusers,
)

# Time and space factor, and the levels behind which they are made.
KINDS = {
    "4x8x8": {"ch_mult": [1, 2, 2, 2]},
    "2x4x4": {"ch_mult": [2, 2, 1], "tempo_ds": [1], "tempo_us": [1]},
    "8x8x8": {"ch_mult": [1, 1, 1, 2], "tempo_ds": [0, 1, 2], "tempo_us": [1, 2, 3]},
    "4x16x16": {"ch_mult": [1, 1, 1, 1, 1], "tempo_ds": [1, 3], "tempo_us": [2, 3]},
}
CASES = [
    ("4x8x8", True),
    ("4x8x8", False),
    *(
        pytest.param(kind, causal, marks=pytest.mark.slow)
        for kind, causal in (("8x8x8", True), ("4x16x16", True), ("2x4x4", False))
    ),
]


def peer(kind, causal):
    torch.manual_seed(3)
    model = AutoencoderVidTok(
        ch=16,  # norms over few channels would make much of rounding
        z_channels=3,
        double_z=False,
        num_res_blocks=1,
        regularizer="fsq",
        codebook_size=512,
        is_causal=causal,
        **KINDS[kind],
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms too, which all are one at first
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def clip(num_frames, side=16):
    """A course of noise that grows."""
    generator = torch.Generator().manual_seed(num_frames)
    noise = torch.randn(1, 3, num_frames, side, side + 16, generator=generator)
    return (0.5 * noise * torch.linspace(0.2, 1, num_frames)[:, None, None]).clamp(-1, 1)


def parts(tokenizer):
    return tokenizer.encoder, tokenizer.quantizer, tokenizer.decoder


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "causal"), CASES)
@torch.no_grad()
def test_seventeen_frames(kind, causal):
    model = peer(kind, causal)
    encoder, quantizer, decoder = parts(vidtok_from_diffusers(model.config, model.state_dict()))
    time = encoder.stride[0]
    assert f"{time}x{encoder.stride[1]}x{encoder.stride[2]}" == kind
    assert encoder.stride == decoder.stride
    x = clip(17, side=32 if kind == "4x16x16" else 16)
    if causal:  # what the model's own forward pass does around its networks
        padded = torch.cat([x[:, :, :1]] * (time - 1) + [x], dim=2)
    else:
        x = padded = torch.cat([x] + [x[:, :, -1:]] * 15, dim=2)
    theirs, their_indices = model.encode(padded)
    their_latent = model.encoder(padded) if not causal else model._encode(padded)

    latent = encoder(x)
    close(latent, their_latent)
    indices = quantizer.encode(latent.movedim(1, -1))
    assert torch.equal(indices[..., 0], their_indices.long())
    assert len(indices.unique()) > 8
    quantized = quantizer.decode(indices).movedim(-1, 1)
    close(quantized, theirs)
    close(decoder(quantized), model.decode(theirs))
    if causal:
        close(model.decode(their_indices, decode_from_indices=True), decoder(quantized))
        close(model(x).sample, decoder(quantized))


@torch.no_grad()
def test_one_frame_and_frames_that_do_not_divide():
    """Repeated up to 1 + 4 k at the end, and cut off again, as the model does it.

    Of 4 k frames it repeats the last one five times and not once.
    """
    model = peer("4x8x8", True)
    encoder, quantizer, decoder = parts(vidtok_from_diffusers(model.config, model.state_dict()))
    for num_frames in (1, 6):
        x = clip(num_frames)
        whole = torch.cat([x] + [x[:, :, -1:]] * ((1 - num_frames) % 4), dim=2)
        quantized = quantizer.decode(quantizer.encode(encoder(whole).movedim(1, -1)))
        close(decoder(quantized.movedim(-1, 1))[:, :, :num_frames], model(x).sample)


@pytest.mark.slow
@torch.no_grad()
def test_pieces_give_what_the_model_gives_of_the_whole():
    model = peer("4x8x8", True)
    encoder, quantizer, decoder = parts(vidtok_from_diffusers(model.config, model.state_dict()))
    x = clip(21)
    padded = torch.cat([x[:, :, :1]] * 3 + [x], dim=2)
    codes, indices = model.encode(padded)
    stream = SteppedStream(open_stream(encoder), step=4, first=1)
    pieces = [*(stream.push(piece) for piece in x.split(5, dim=2)), stream.finish()]
    assert torch.equal(
        quantizer.encode(torch.cat(pieces, dim=2).movedim(1, -1))[..., 0], indices.long()
    )
    stream = open_stream(decoder)
    pieces = [*(stream.push(piece) for piece in codes.split(2, dim=2)), stream.finish()]
    close(torch.cat(pieces, dim=2), model.decode(codes))


@pytest.mark.parametrize(("kind", "causal"), CASES)
def test_back_again(kind, causal):
    model = peer(kind, causal)
    config, state = vidtok_to_diffusers(vidtok_from_diffusers(model.config, model.state_dict()))
    original = model.state_dict()
    assert state.keys() == original.keys()
    assert all(torch.equal(state[name], original[name]) for name in original)
    again = AutoencoderVidTok.from_config(config)
    again.load_state_dict(state)
    assert again.encoder.spatial_ds == model.encoder.spatial_ds
    assert sorted(again.encoder.tempo_ds) == sorted(model.encoder.tempo_ds)
    assert sorted(again.decoder.tempo_us) == sorted(model.decoder.tempo_us)
    assert again.config.is_causal == causal


def test_a_file_of_the_release():
    """The same names under a prefix of Lightning's, beside losses and a discriminator."""
    model = peer("4x8x8", True)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    state |= {"loss.discriminator.main.0.weight": torch.zeros(1)}
    state |= {"regularization._levels": torch.tensor([8, 8, 8])}
    encoder, _, decoder = parts(vidtok_from_original(state))
    expected = vidtok_from_diffusers(model.config, model.state_dict())
    for ours, theirs in ((encoder, expected.encoder), (decoder, expected.decoder)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name


def test_other_models_are_refused():
    model = peer("4x8x8", True)
    state = model.state_dict()
    with pytest.raises(ConfigError, match="'fsq'"):
        vidtok_from_diffusers({"regularizer": "kl"}, state)
    with pytest.raises(ConfigError, match="is_causal False"):
        vidtok_from_diffusers({"regularizer": "fsq", "is_causal": False}, state)
    with pytest.raises(ConfigError, match="projection"):
        vidtok_from_original(state | {"regularization.project_in.weight": torch.zeros(3, 4)})
    with pytest.raises(ConfigError, match="an encoder and of a decoder"):
        vidtok_from_original({"backbone.weight": torch.zeros(1)})
    missing = {name: value for name, value in state.items() if "mix_factor" not in name}
    with pytest.raises(ConfigError, match="mix_factor"):
        vidtok_from_original(missing)
    twice = dict(state)
    for part in ("weight", "bias"):
        value = state[f"encoder.conv_out.conv.{part}"]
        twice[f"encoder.conv_out.conv.{part}"] = torch.cat([value, value])
    with pytest.raises(ConfigError, match="mean and a variance"):
        vidtok_from_original(twice)


def test_networks_that_diffusers_lacks_are_refused():
    sizes = {"dim": 3, "base_width": 4, "multipliers": (1, 1, 1), "num_res_blocks": 1}
    encoder, decoder = VidTokEncoder(**sizes), VidTokDecoder(**sizes)
    with pytest.raises(ConfigError, match="8 levels"):
        vidtok_to_diffusers(Tokenizer(VideoFrontend(), encoder, FSQ([8, 8, 5]), decoder))
    more = VidTokDecoder(**sizes | {"num_res_blocks": 2})
    with pytest.raises(ConfigError, match="num_res_blocks"):
        vidtok_to_diffusers(Tokenizer(VideoFrontend(), encoder, FSQ([8, 8, 8]), more))


@pytest.mark.parametrize("causal", [True, False])
def test_a_folder_of_diffusers_is_a_tokenizer_of_clips(tmp_path, causal):
    model = peer("4x8x8", causal)
    model.save_pretrained(tmp_path / "theirs")
    tokenizer = read_foreign(tmp_path / "theirs")
    media = clip(17 if causal else 16)
    padded = torch.cat([media[:, :, :1]] * 3 + [media], dim=2) if causal else media
    tokens = tokenizer.encode([media[0]])
    with torch.no_grad():
        _, indices = model.encode(padded)
    assert torch.equal(tokens.indices[..., 0], indices.long())
    write_diffusers(tokenizer, tmp_path / "ours")
    again = AutoencoderVidTok.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        assert torch.equal(again.encode(padded)[1], indices)
