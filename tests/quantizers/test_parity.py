"""The same numbers as vector-quantize-pytorch 1.32, where its behaviour is right."""

import pytest
import torch
from vector_quantize_pytorch import FSQ as PeerFSQ
from vector_quantize_pytorch import ResidualVQ as PeerResidualVQ
from vector_quantize_pytorch import VectorQuantize as PeerVQ
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

from vqkit.ops import rotation_trick
from vqkit.quantizers import FSQ, Cosine, FromData, Residual, VectorQuantizer

DIM = 6


# It refuses L = 2 without symmetry. Its symmetric bound keeps float codes, which its indices round.
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("levels", [[3], [4], [8, 6, 5], [8, 5, 5, 5], [7, 5, 5, 5, 5]], ids=str)
def test_fsq(levels, symmetric):
    peer, mine = PeerFSQ(levels, preserve_symmetry=symmetric), FSQ(levels, symmetric=symmetric)
    z = 1.5 * torch.randn(3, 300, len(levels))
    z[0, 0] = 0.0
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    (peer_quantized, peer_indices), output = peer(a), mine(b)
    torch.testing.assert_close(output.quantized, peer_quantized, rtol=1e-5, atol=1e-6)
    assert torch.equal(output.indices[..., 0], peer_indices.long())
    weight = torch.randn_like(z)
    (peer_quantized * weight).sum().backward()
    (output.quantized * weight).sum().backward()
    torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-5)
    everything = torch.arange(mine.codebook_sizes[0])
    torch.testing.assert_close(
        mine.decode(everything[None, :, None])[0], peer.indices_to_codes(everything)
    )


@pytest.mark.parametrize("cosine", [False, True])
def test_nearest_codes(cosine):
    mine = VectorQuantizer(DIM, 32, init=FromData(), metric=Cosine() if cosine else None)
    mine(torch.randn(2, 100, DIM))
    peer = PeerVQ(DIM, 32, use_cosine_sim=cosine).eval()
    peer._codebook.embed.copy_(mine.codebook[None])
    z = torch.randn(4, 200, DIM)
    quantized, indices, _ = peer(z)
    output = mine.eval()(z)
    assert torch.equal(output.indices[..., 0], indices)
    torch.testing.assert_close(output.quantized, quantized)


def test_residual_sums():
    mine = Residual(VectorQuantizer(DIM, 32), 3)
    for _ in range(4):
        mine(torch.randn(2, 200, DIM))
    peer = PeerResidualVQ(dim=DIM, num_quantizers=3, codebook_size=32).eval()
    for level, theirs in zip(mine.levels, peer.layers, strict=True):
        theirs._codebook.embed.copy_(level.codebook[None])
    z = torch.randn(4, 50, DIM)
    quantized, indices, _ = peer(z)
    output = mine.eval()(z)
    assert torch.equal(output.indices, indices)
    torch.testing.assert_close(output.quantized, quantized, rtol=1e-5, atol=1e-5)


def test_gradient_of_the_rotation_trick():
    z, quantized, upstream = torch.randn(3, 100, DIM)
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    (rotate_to(a, quantized) * upstream).sum().backward()
    (rotation_trick(b, quantized, 1e9) * upstream).sum().backward()
    torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-4)
