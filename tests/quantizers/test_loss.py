"""The terms of the VQ loss against their closed forms, each alone."""

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers import Cosine, GradientUpdate, VectorQuantizer, VQLoss

BATCH, POSITIONS, DIM, CODES = 3, 7, 5, 4


def quantizer(loss: VQLoss, **options) -> VectorQuantizer:
    torch.manual_seed(0)
    layer = VectorQuantizer(DIM, CODES, update=GradientUpdate(), loss=loss, **options)
    layer(torch.randn(8, 16, DIM))  # initialises
    return layer


def gradients(layer: VectorQuantizer, z: Tensor, mask: Tensor | None = None):
    """Loss, indices and the gradients of the loss alone to the input and the codebook."""
    z = z.clone().requires_grad_()
    output = layer(z, mask)
    output.loss.backward()
    return output, z.grad, layer.codebook.grad


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_commitment_alone(reduction, masked):
    layer = quantizer(VQLoss(commitment=0.7, codebook=0.0, reduction=reduction))
    z = torch.randn(BATCH, POSITIONS, DIM)
    mask = torch.rand(BATCH, POSITIONS) < 0.6 if masked else None
    output, z_gradient, codebook_gradient = gradients(layer, z, mask)
    valid = torch.ones(BATCH, POSITIONS, dtype=torch.bool) if mask is None else mask
    size = int(valid.sum()) * (DIM if reduction == "mean" else 1)
    difference = (z - output.quantized.detach()) * valid[..., None]
    torch.testing.assert_close(output.loss, 0.7 * difference.square().sum() / size)
    torch.testing.assert_close(z_gradient, 0.7 * 2 * difference / size)
    assert not codebook_gradient.any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_codebook_term_alone(reduction, masked):
    layer = quantizer(VQLoss(commitment=0.0, codebook=0.7, reduction=reduction))
    z = torch.randn(BATCH, POSITIONS, DIM)
    mask = torch.rand(BATCH, POSITIONS) < 0.6 if masked else None
    output, z_gradient, codebook_gradient = gradients(layer, z, mask)
    valid = torch.ones(BATCH, POSITIONS, dtype=torch.bool) if mask is None else mask
    size = int(valid.sum()) * (DIM if reduction == "mean" else 1)
    expected = torch.zeros(CODES, DIM)
    for vector, index in zip(z[valid], output.indices[valid].flatten().tolist(), strict=True):
        expected[index] += 0.7 * 2 * (layer.codebook[index].detach() - vector) / size
    torch.testing.assert_close(codebook_gradient, expected)
    assert not z_gradient.any()
    difference = (z - output.quantized.detach())[valid]
    torch.testing.assert_close(output.loss, 0.7 * difference.square().sum() / size)


def test_sum_is_dim_times_mean():
    z = torch.randn(BATCH, POSITIONS, DIM)
    mean, sum_ = (quantizer(VQLoss(reduction=r))(z).loss for r in ("mean", "sum"))
    torch.testing.assert_close(sum_, DIM * mean)


def test_cosine_terms_compare_unit_vectors():
    layer = quantizer(VQLoss(), metric=Cosine())
    z = torch.randn(BATCH, POSITIONS, DIM)
    output, z_gradient, codebook_gradient = gradients(layer, 10 * z)
    naive_z = (10 * z).requires_grad_()
    naive_codebook = layer.codebook.detach().clone().requires_grad_()
    u = naive_z / naive_z.norm(dim=-1, keepdim=True)
    e = naive_codebook / naive_codebook.norm(dim=-1, keepdim=True)
    q = e[output.indices[..., 0]]
    loss = (q - u.detach()).square().mean() + 0.25 * (u - q.detach()).square().mean()
    loss.backward()
    torch.testing.assert_close(output.loss, loss)
    torch.testing.assert_close(z_gradient, naive_z.grad)
    torch.testing.assert_close(codebook_gradient, naive_codebook.grad)


@pytest.mark.parametrize(
    ("preset", "commitment", "codebook"),
    [
        (VQLoss(), 0.25, 1.0),
        (VQLoss.paper(), 0.25, 1.0),
        (VQLoss.paper(beta=0.5), 0.5, 1.0),
        (VQLoss.taming(), 1.0, 0.25),
        (VQLoss.taming(beta=0.5), 1.0, 0.5),
        (VQLoss.dac(), 0.25, 1.0),
        (VQLoss.encodec(), 1.0, 0.0),
        (VQLoss.vqgan_lc(), 1.0, 0.33),
    ],
)
def test_presets_put_beta_where_their_sources_do(preset, commitment, codebook):
    assert preset.reduction == "mean"
    layer = quantizer(preset)
    z = torch.randn(BATCH, POSITIONS, DIM)
    output, z_gradient, codebook_gradient = gradients(layer, z)
    square = (z - output.quantized.detach()).square().mean()
    torch.testing.assert_close(output.loss, (commitment + codebook) * square)
    # The terms are unweighted.
    assert output.terms.keys() == {"commitment", "codebook"}
    for term in output.terms.values():
        torch.testing.assert_close(term, square)
    only_z, only_codebook = (
        gradients(quantizer(VQLoss(commitment=1.0, codebook=0.0)), z)[1],
        gradients(quantizer(VQLoss(commitment=0.0, codebook=1.0)), z)[2],
    )
    torch.testing.assert_close(z_gradient, commitment * only_z)
    torch.testing.assert_close(codebook_gradient, codebook * only_codebook)


def test_an_ema_codebook_has_no_codebook_term():
    layer = VectorQuantizer(DIM, CODES, loss=VQLoss(commitment=0.25, codebook=1.0))
    z = torch.randn(BATCH, POSITIONS, DIM)
    output = layer(z)
    assert output.terms.keys() == {"commitment"}
    torch.testing.assert_close(output.loss, 0.25 * output.terms["commitment"])


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_settings_are_refused():
    for bad in ({"commitment": -1.0}, {"codebook": -0.1}, {"reduction": "max"}):
        with pytest.raises(ConfigError, match="VQLoss"):
            VQLoss(**bad)
