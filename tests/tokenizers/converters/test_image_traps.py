"""Mistakes in publishing and reading tokenizers of images, each as a test that names it."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import VectorQuantizer as TheirQuantizer

from tests.tokenizers.converters import image_originals
from vqkit.errors import ConfigError
from vqkit.metrics import CodebookUsage
from vqkit.quantizers import VQLoss, from_diffusers, from_ibq, from_taming
from vqkit.tokenizers.converters.checkpoint import averaged


@pytest.mark.parametrize("legacy", [True, False])
def test_trap_37_beta_is_on_the_term_that_the_library_has_it_on(legacy):
    """taming-transformers and diffusers swap the terms of the paper unless told otherwise."""
    torch.manual_seed(0)
    theirs = TheirQuantizer(20, 4, beta=0.25, legacy=legacy)
    torch.nn.init.normal_(theirs.embedding.weight)
    z = torch.randn(2, 4, 3, 5, requires_grad=True)
    expected = theirs(z)[1]
    ours = from_diffusers({"embedding.weight": theirs.embedding.weight.detach()}).train()
    assert ours.loss == VQLoss.taming()
    if not legacy:
        ours.loss = VQLoss.paper()
    loss = ours(z.movedim(1, -1)).loss
    torch.testing.assert_close(loss, expected)
    gradients = [
        torch.autograd.grad(value, (z, codes))
        for value, codes in ((loss, ours.codebook), (expected, theirs.embedding.weight))
    ]
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other)


def test_trap_37_llamagen_has_it_where_the_paper_has():
    """Between unit vectors; taming-transformers' order would weigh the commitment by 1."""
    torch.manual_seed(0)
    codes = torch.randn(20, 4)
    z = torch.randn(1, 6, 4, requires_grad=True)
    quantizer = from_taming({"embedding.weight": codes}, cosine=True).train()
    index = quantizer.encode(z)[..., 0]
    unit = F.normalize(z, dim=-1)
    chosen = F.normalize(codes, dim=-1)[index]
    expected = 0.25 * (unit - chosen).square().mean()
    (theirs,) = torch.autograd.grad(expected, z)
    (ours,) = torch.autograd.grad(quantizer(z).loss, z)
    torch.testing.assert_close(ours, theirs)


def test_trap_39_usage_of_2_to_the_18_codes_is_counted_to_the_last():
    """LlamaGen counts in a window of 65,536 indices that begins as zeros: at most a quarter."""
    size = 2**18
    generator = torch.Generator().manual_seed(0)
    for num_unused in (0, 1000):
        metric = CodebookUsage((size,))
        order = torch.randperm(size, generator=generator)[num_unused:]
        for batch in order.split(50_000):
            metric.update(batch[None, :, None])
        assert metric.compute()["num_distinct"].item() == size - num_unused
        assert metric.compute()["usage"].item() == pytest.approx(1 - num_unused / size)


def test_trap_40_names_of_an_average_without_dots_are_looked_up():
    """Parsed, 1.10 and 11.0 are one name."""
    state = {"up.1.10.weight": torch.zeros(1), "quant.bias": torch.zeros(1)}
    one = averaged(state | image_originals.average_names({"up.1.10.weight": torch.ones(1)}))
    assert one["up.1.10.weight"] == 1
    assert one["quant.bias"] == 0
    both = state | {"up.11.0.weight": torch.zeros(1), "model_ema.up110weight": torch.ones(1)}
    with pytest.raises(ConfigError, match=r"'up\.1\.10\.weight', 'up\.11\.0\.weight'"):
        averaged(both)
    assert averaged(both, last=True).keys() == state.keys() | {"up.11.0.weight"}


def test_trap_41_codes_of_ibq_are_chosen_by_product():
    """Their layout is VQGAN's, whose nearest code is mostly another."""
    torch.manual_seed(0)
    state = {"quantize.embedding.weight": torch.randn(64, 8) * torch.linspace(0.3, 3, 64)[:, None]}
    z = torch.randn(1, 500, 8)
    product, nearest = from_ibq(state).encode(z), from_taming(state).encode(z)
    assert torch.equal(product[..., 0], (z @ state["quantize.embedding.weight"].T).argmax(-1))
    assert (product != nearest).float().mean() > 0.5
