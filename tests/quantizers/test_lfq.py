"""LFQ and BSQ, against their equations with a table of all codes."""

import itertools
import math
import tracemalloc

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from vector_quantize_pytorch import LFQ as PeerLFQ

from tests.spawn import Join, run_ranks
from vqkit.errors import ConfigError
from vqkit.ops import reverse_bits
from vqkit.quantizers import (
    BSQ,
    LFQ,
    NO_TOKEN,
    BitEntropy,
    IndexBackpropagation,
    NoiseSubstitution,
    Quantizer,
    VQLoss,
)

BITS = 6
ENTROPY = BitEntropy(weight=0.3, temperature=0.5, diversity=0.7)


def naive(z: Tensor, spherical: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest of all 2^d codes, first dimension in the highest bit, and the loss."""
    u = z / z.norm(dim=-1, keepdim=True) if spherical else z
    table = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=z.shape[-1])))
    table = table / math.sqrt(z.shape[-1]) if spherical else table
    distance = (u[..., None, :] - table).square().sum(-1)
    indices = distance.argmin(-1)
    p = torch.softmax(-distance / ENTROPY.temperature, dim=-1).flatten(0, -2)
    each = torch.special.entr(p).sum(-1).mean()
    uneven = math.log(len(table)) - torch.special.entr(p.mean(0)).sum()
    square = (u - table[indices]).square().sum(-1).mean()
    commitment = 0.25 * (square if spherical else square / z.shape[-1])
    return table[indices], indices, commitment + 0.3 * (each + 0.7 * uneven)


@pytest.mark.parametrize("spherical", [False, True])
def test_codes_indices_loss_and_gradient_equal_the_equations(spherical):
    layer = (BSQ if spherical else LFQ)(BITS, order="big", entropy=ENTROPY)
    z = torch.randn(3, 40, BITS, requires_grad=True)
    weight = torch.randn_like(z)
    output = layer(z)
    ((output.quantized * weight).sum() + output.loss).backward()
    x = z.detach().clone().requires_grad_()
    codes, indices, loss = naive(x, spherical)
    # Straight through to u, which BSQ scales as its paper does; then through the normalisation.
    u = F.normalize(x, dim=-1) / math.sqrt(BITS) if spherical else x
    ((u * weight).sum() + loss).backward()
    torch.testing.assert_close(output.quantized, codes)
    assert torch.equal(output.indices[..., 0], indices)
    torch.testing.assert_close(output.loss, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(z.grad, x.grad, rtol=1e-4, atol=1e-6)


def test_zero_and_nan_are_minus_one():
    z = torch.tensor([[[0.0, -0.0, math.nan, 1e-30, math.inf, -1e38]]])
    assert LFQ(6).encode(z).item() == 0b011000
    assert BSQ(6).encode(z).item() == 0b011000


def test_bsq_depends_on_the_direction_alone():
    layer = BSQ(8)
    z = torch.randn(2, 30, 8)
    near, far = layer(z), layer(1e4 * z)
    assert torch.equal(near.quantized, far.quantized)
    torch.testing.assert_close(near.loss, far.loss)
    torch.testing.assert_close(near.quantized.norm(dim=-1), torch.ones(2, 30))
    assert layer(torch.zeros(1, 1, 8)).loss.isfinite()


@pytest.mark.parametrize("kind", [LFQ, BSQ])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("bits", [[16], [25], [32], [36], [62], [6, 12], [40, 1, 60]], ids=str)
def test_trap_8_wide_indices_round_trip_in_both_orders(kind, order, bits):
    layer = kind(sum(bits), bits, order)
    indices = torch.stack([torch.randint(2**width, (2, 50)) for width in bits], dim=-1)
    indices[0, 0], indices[0, 1] = 0, torch.tensor([2**width - 1 for width in bits])
    codes = layer.decode(indices)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert torch.equal(layer.encode(codes.to(dtype)), indices)
    other = kind(sum(bits), bits, "big" if order == "little" else "little")
    turned = torch.stack(
        [reverse_bits(indices[..., i], width) for i, width in enumerate(bits)], dim=-1
    )
    assert torch.equal(other.decode(turned), codes)


def test_more_than_62_bits_become_several_indices():
    layer = BSQ(128)
    assert layer.codebook_sizes == (2**43, 2**43, 2**42)
    assert layer.bits_per_position == 128.0
    z = torch.randn(2, 5, 128)
    assert torch.equal(layer.decode(layer.encode(z)) > 0, z > 0)


def test_trap_11_no_table_of_codes_is_ever_built():
    """2^40 codes in a table are 160 TB; a training step takes what its tokens take."""
    tracemalloc.start()
    layer = LFQ(40)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    sizes = [t.numel() for t in (*layer.parameters(), *layer.buffers())]
    assert sizes == []
    z = torch.randn(1, 64, 40, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t.numel()) or t, lambda t: t
    ):
        layer(z).loss.backward()
    assert max(saved) <= 64 * 40


@pytest.mark.parametrize("diversity", [1.0, 2.0])
def test_the_same_as_vector_quantize_pytorch(diversity):
    peer = PeerLFQ(dim=8, codebook_size=256, diversity_gamma=diversity, entropy_loss_weight=0.1)
    mine = LFQ(8, order="big", entropy=BitEntropy(0.1, 0.01, diversity), loss=VQLoss(0.0, 0.0))
    z = torch.randn(2, 200, 8)
    a, b = (0.02 * z).requires_grad_(), (0.02 * z).requires_grad_()
    quantized, indices, loss = peer(a, inv_temperature=100.0)
    output = mine(b)
    assert torch.equal(output.indices[..., 0], indices)
    assert torch.equal(output.quantized, quantized)
    # It leaves out the constant, and its entropies cut logarithms off at 1e-5.
    constant = 0.1 * diversity * math.log(256)
    torch.testing.assert_close(output.loss, loss + constant, rtol=0, atol=2e-4)
    loss.backward()
    output.loss.backward()
    cosine = F.cosine_similarity(a.grad.flatten(), b.grad.flatten(), dim=0)
    assert cosine > 0.999


def test_the_penalty_spreads_the_codes():
    """A table whose bits are all alike learns to use every code."""
    torch.manual_seed(0)
    layer, bias = LFQ(4, entropy=BitEntropy(temperature=0.5)), torch.full((4,), 1.5)
    bias.requires_grad_()
    noise = torch.randn(1, 400, 4)
    optimizer = torch.optim.Adam([bias], lr=0.05)
    before = layer(noise + bias).terms["mean_entropy"]
    for _ in range(150):
        optimizer.zero_grad()
        layer(noise + bias).loss.backward()
        optimizer.step()
    output = layer(noise + bias)
    assert before < 1.5
    assert output.terms["mean_entropy"] > 0.97 * 4 * math.log(2)
    assert len(output.indices.unique()) == 16


def test_masked_positions_are_no_tokens_and_count_for_nothing():
    layer = LFQ(5)
    z, mask = torch.randn(2, 7, 5), torch.rand(2, 7) < 0.5
    output = layer(z, mask)
    assert (output.indices[~mask] == NO_TOKEN).all()
    assert (output.indices[mask] != NO_TOKEN).all()
    torch.testing.assert_close(output.loss, layer(z[mask][None]).loss)
    assert layer(z, torch.zeros_like(mask)).loss.isfinite()


def entropy_terms(layer: Quantizer, items: slice) -> list[Tensor]:
    """Terms, and the gradient of the entropy at the first item of all ranks."""
    batch = torch.randn(8, 6, 12, generator=torch.Generator().manual_seed(9))
    z = batch[items].requires_grad_()
    output = layer(z)
    output.loss.backward()
    with torch.no_grad():
        layer.eval()(z)  # no collective here, or the other rank would have to come along
    return [output.terms["token_entropy"], output.terms["mean_entropy"], z.grad]


def ranks_work(rank: int, join: Join) -> list:
    layer = LFQ(12, entropy=BitEntropy(temperature=2.0), loss=VQLoss(0.0, 0.0))  # before the group
    join()
    assert dist.get_world_size() == 2
    same = entropy_terms(layer.train(), slice(0, 4))
    parts = entropy_terms(layer.train(), slice(0, 3) if rank == 0 else slice(3, 8))
    empty = entropy_terms(layer.train(), slice(0, 8) if rank == 0 else slice(0, 0))
    return [same, parts, empty]


@pytest.mark.slow
def test_trap_5_batch_entropy_of_two_ranks_is_that_of_one():
    """Equal data on two ranks gave 2.07 nats instead of 3.44."""
    results = run_ranks(ranks_work)

    def layer() -> LFQ:
        return LFQ(12, entropy=BitEntropy(temperature=2.0), loss=VQLoss(0.0, 0.0))

    half, whole = entropy_terms(layer(), slice(0, 4)), entropy_terms(layer(), slice(0, 8))
    for same, parts, empty in results:
        for i in (0, 1):
            torch.testing.assert_close(same[i], half[i])
            torch.testing.assert_close(parts[i], whole[i])
            torch.testing.assert_close(empty[i], whole[i])
        torch.testing.assert_close(same[2], half[2])
    # The average over the ranks, as DDP takes it, is the gradient of one process.
    split = torch.cat([results[0][1][2], results[1][1][2]]) / 2
    torch.testing.assert_close(split, whole[2])


def test_estimators_with_noise_leave_the_code_in_training_alone():
    for layer in (LFQ(6, gradient=NoiseSubstitution()), BSQ(6, gradient=NoiseSubstitution())):
        z = torch.randn(1, 20, 6)
        output = layer(z)
        assert not torch.equal(output.quantized, layer.decode(output.indices))
        torch.testing.assert_close(
            (output.quantized - layer._place(z)).norm(dim=-1),
            (layer.decode(output.indices) - layer._place(z)).norm(dim=-1),
        )
        assert torch.equal(layer.eval()(z).quantized, layer.decode(output.indices))


@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_make_no_sense():
    for wrong in (
        lambda: LFQ(0),
        lambda: LFQ(8, bits=[4, 5]),
        lambda: LFQ(8, bits=[8, 0]),
        lambda: BSQ(70, bits=[63, 7]),
        lambda: BSQ(8, order="middle"),
        lambda: LFQ(8, gradient=IndexBackpropagation()),
        lambda: BitEntropy(group_bits=0),
        lambda: BitEntropy(group_bits=19),
        lambda: BitEntropy(temperature=0.0),
    ):
        with pytest.raises(ConfigError, match="expected"):
            wrong()
