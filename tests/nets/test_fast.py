"""The fast networks: values, sizes, and that a latent depends on its neighbourhood alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import FastDecoder, FastEncoder

SMALL = {"dim": 3, "patch": 2, "widths": (4, 6), "num_blocks": (1, 2)}


def conv(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)


def block(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    length = (x.pow(2).sum(1, keepdim=True) / x.shape[1] + 1e-6).sqrt()
    hidden = conv(weights, f"{name}.conv1", x / length)
    hidden = conv(weights, f"{name}.conv2", hidden * torch.sigmoid(hidden))
    return x + weights[f"{name}.gain"] * hidden


def to_channels(x: Tensor) -> Tensor:
    """2x2 pixels to channels, as numpy would write it."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, 4 * channels, height // 2, width // 2)


def to_pixels(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // 4, 2 * height, 2 * width)


def reference_encoder(network: FastEncoder, x: Tensor) -> Tensor:
    weights = dict(network.named_parameters())
    x = conv(weights, "stages.0", network.patchify(x))
    x = block(weights, "stages.1", x)
    x = conv(weights, "stages.3", to_channels(x))
    x = block(weights, "stages.5", block(weights, "stages.4", x))
    x = x / (1 + x.pow(2).sum(1, keepdim=True) / x.shape[1]).sqrt()
    return conv(weights, "head", x)


def reference_decoder(network: FastDecoder, x: Tensor) -> Tensor:
    weights = dict(network.named_parameters())
    x = conv(weights, "stages.0", x)
    x = block(weights, "stages.2", block(weights, "stages.1", x))
    x = block(weights, "stages.5", to_pixels(conv(weights, "stages.3", x)))
    return network.unpatchify(conv(weights, "head", x))


@pytest.mark.parametrize(
    ("network", "reference", "shape"),
    [
        (FastEncoder(**SMALL), reference_encoder, (2, 3, 8, 12)),
        (FastDecoder(**SMALL), reference_decoder, (2, 3, 2, 3)),
    ],
    ids=["encoder", "decoder"],
)
def test_equals_reference_in_values_and_gradients(network, reference, shape):
    network = network.double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    inputs = [x, *network.parameters()]
    ours, theirs = network(x), reference(network, x)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(ours.square().sum(), inputs),
        torch.autograd.grad(theirs.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(
    ("factor", "patch", "widths"),
    [(4, 4, (8,)), (8, 4, (8, 8)), (16, 4, (8, 8, 8)), (32, 8, (8, 8, 8))],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_factors_and_channels(factor: int, patch: int, widths: tuple[int, ...], channels: int):
    setting = {"dim": 5, "patch": patch, "widths": widths, "num_blocks": (1,) * len(widths)}
    encoder, decoder = FastEncoder(channels, **setting), FastDecoder(channels, **setting)
    assert encoder.stride == decoder.stride == (factor, factor)
    latent = encoder(torch.zeros(1, channels, factor, 3 * factor))
    assert latent.shape == (1, 5, 1, 3)
    assert decoder(latent).shape == (1, channels, factor, 3 * factor)


def test_a_latent_does_not_depend_on_the_size_of_the_picture():
    encoder = FastEncoder(**SMALL).double()
    picture = torch.randn(1, 3, 48, 48, dtype=torch.float64)
    whole, crop = encoder(picture), encoder(picture[:, :, :36, :36])
    # Four convolutions at 1/4 and two at 1/2 see five positions past the edge of the crop.
    torch.testing.assert_close(whole[:, :, :4, :4], crop[:, :, :4, :4], rtol=0, atol=1e-13)
    assert not torch.allclose(whole[:, :, :9, :9], crop)


def test_items_do_not_mix_in_training():
    encoder, decoder = FastEncoder(**SMALL).double(), FastDecoder(**SMALL).double()
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    together = decoder(encoder(images))
    alone = torch.cat([decoder(encoder(image[None])) for image in images])
    torch.testing.assert_close(together, alone)


def test_latents_begin_spread_but_not_saturated():
    """FSQ's tanh is flat beyond 2: a start out there never comes back."""
    ramp = torch.linspace(-1, 1, 64)
    brightness = torch.linspace(-0.8, 0.8, 8)[:, None, None, None]
    images = (brightness + 0.3 * ramp + 0.3 * ramp[:, None]).expand(8, 3, 64, 64)
    deviation = FastEncoder(dim=64)(images).std()
    assert 0.2 < deviation < 1.0


def test_length_of_latents_is_bounded():
    encoder = FastEncoder(**SMALL)
    latent = encoder(1e4 * torch.randn(1, 3, 16, 16))
    limit = encoder.head.weight.flatten(1).norm(dim=1) * SMALL["widths"][-1] ** 0.5
    assert (latent.abs().amax(dim=(0, 2, 3)) <= 1.001 * limit).all()


def test_attributes_repeat_the_arguments():
    for network in (FastEncoder(**SMALL), FastDecoder(**SMALL)):
        assert {name: getattr(network, name) for name in SMALL} == SMALL


def test_last_layer_is_where_the_output_is_linear():
    decoder = FastDecoder(**SMALL)
    latent = torch.randn(1, 3, 2, 2)
    before = decoder(latent)
    with torch.no_grad():
        decoder.last_layer.mul_(2.0)
    torch.testing.assert_close(decoder(latent), 2 * before)


def test_seed_decides_the_weights():
    def built(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return FastEncoder(**SMALL).state_dict()

    first, again, other = built(1), built(1), built(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_bf16_autocast_runs_backwards():
    encoder, decoder = FastEncoder(**SMALL), FastDecoder(**SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        output = decoder(encoder(torch.randn(1, 3, 8, 8)))
    output.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in (*encoder.parameters(), *decoder.parameters()))


def test_refuses_shapes():
    with pytest.raises(ShapeError, match="multiples of 8 x 8, got"):
        FastEncoder()(torch.zeros(1, 3, 16, 20))
    with pytest.raises(ShapeError, match=r"expected \[batch, 16, height, width\]"):
        FastDecoder()(torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize("network", [FastEncoder, FastDecoder])
def test_refuses_settings(network):
    with pytest.raises(ConfigError, match=r"got \[1\] for \[8, 8\]"):
        network(widths=(8, 8), num_blocks=(1,))
    with pytest.raises(ConfigError, match=r"got \[\] for \[\]"):
        network(widths=(), num_blocks=())
    with pytest.raises(ConfigError, match="patch and widths >= 1"):
        network(patch=0)
    with pytest.raises(ConfigError, match=r"num_blocks >= 0.*\[1, -1\]"):
        network(num_blocks=(1, -1))
