"""The same indices and outputs as the libraries that the weights are from."""

import pytest
import torch
from diffusers import VQModel
from transformers import DacConfig, EncodecConfig, MimiConfig
from transformers.models.dac.modeling_dac import DacResidualVectorQuantizer
from transformers.models.encodec.modeling_encodec import EncodecResidualVectorQuantizer
from transformers.models.mimi.modeling_mimi import MimiSplitResidualVectorQuantizer
from vector_quantize_pytorch import FSQ as PeerFSQ
from vector_quantize_pytorch import LFQ as PeerLFQ
from vector_quantize_pytorch import (
    GroupedResidualVQ,
    ResidualSimVQ,
    ResidualVQ,
    VectorQuantize,
)
from vector_quantize_pytorch import SimVQ as PeerSimVQ

from vqkit.quantizers import (
    BSQ,
    EMA,
    FSQ,
    LFQ,
    Cosine,
    CosineSearch,
    Euclidean,
    Grouped,
    from_dac,
    from_diffusers,
    from_encodec,
    from_mimi,
    from_vector_quantize_pytorch,
)

DIM = 12


def randomise(module):
    """Weights as if trained: every codebook, projection and count its own."""
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            leaf = name.rpartition(".")[2]
            if leaf in ("cluster_size", "cluster_usage"):
                value.uniform_(0.5, 3.0)
            elif leaf in ("initted", "inited", "initialized"):
                value.fill_(1)
            elif value.is_floating_point() and value.ndim > 0:
                value.normal_()
    return module.eval()


def same(quantizer, z, quantized, indices):
    """Exactly the indices, to rounding the vectors; ``decode`` gives them too."""
    assert not quantizer.training
    assert quantizer.initialized
    output = quantizer(z)
    assert torch.equal(output.indices, indices.long())
    assert len(indices.unique()) > 4
    scale = quantized.abs().max().item()
    torch.testing.assert_close(output.quantized, quantized, rtol=1e-5, atol=1e-6 * scale)
    torch.testing.assert_close(quantizer.decode(indices.long()), output.quantized, rtol=0, atol=0)


def inside(module, name):
    """The state dict of a model that has this quantizer and other parts."""
    state = {f"{name}.{key}": value for key, value in module.state_dict().items()}
    return state | {"encoder.weight": torch.randn(3, 3), "decoder.layers.0.weight": torch.ones(2)}


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("codebook_dim", [None, 4])
def test_vector_quantize(cosine, codebook_dim):
    peer = randomise(VectorQuantize(DIM, 16, codebook_dim=codebook_dim, use_cosine_sim=cosine))
    if cosine:
        embed = peer._codebook.embed
        embed.copy_(torch.nn.functional.normalize(embed, dim=-1))
    z = torch.randn(3, 50, DIM)
    quantized, indices, _ = peer(z)
    for state in (peer.state_dict(), inside(peer, "vq")):
        quantizer = from_vector_quantize_pytorch(state)
        same(quantizer, z, quantized, indices[..., None])
    inner = quantizer if codebook_dim is None else quantizer.inner
    assert inner.metric == (Cosine() if cosine else Euclidean())
    torch.testing.assert_close(inner.cluster_size, peer._codebook.cluster_size[0])


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("codebook_dim", [None, 5])
def test_residual_vq(cosine, codebook_dim):
    # Eleven levels: "10" comes after "9", not after "1".
    peer = ResidualVQ(
        dim=DIM,
        num_quantizers=11,
        codebook_size=16,
        codebook_dim=codebook_dim,
        use_cosine_sim=cosine,
    )
    randomise(peer)
    if cosine:
        for layer in peer.layers:
            layer._codebook.embed.copy_(
                torch.nn.functional.normalize(layer._codebook.embed, dim=-1)
            )
    z = torch.randn(3, 50, DIM)
    quantized, indices, _ = peer(z)
    same(from_vector_quantize_pytorch(inside(peer, "rvq")), z, quantized, indices)


def test_residual_vq_with_one_codebook_for_all_levels():
    peer = randomise(ResidualVQ(dim=DIM, num_quantizers=3, codebook_size=16, shared_codebook=True))
    z = torch.randn(3, 50, DIM)
    quantized, indices, _ = peer(z)
    same(from_vector_quantize_pytorch(peer.state_dict()), z, quantized, indices)


@pytest.mark.parametrize("codebook_dim", [None, 3])
def test_grouped_residual_vq(codebook_dim):
    peer = GroupedResidualVQ(
        dim=DIM, groups=2, num_quantizers=3, codebook_size=16, codebook_dim=codebook_dim
    )
    randomise(peer)
    z = torch.randn(3, 50, DIM)
    quantized, indices, _ = peer(z)
    quantizer = from_vector_quantize_pytorch(inside(peer, "grvq"))
    assert isinstance(quantizer, Grouped)
    same(quantizer, z, quantized, torch.cat(list(indices), dim=-1))


@pytest.mark.parametrize("table_dim", [None, 5])
def test_simvq(table_dim):
    peer = randomise(PeerSimVQ(DIM, 16, frozen_codebook_dim=table_dim))
    z = 5 * torch.randn(3, 50, DIM)
    quantized, indices, _ = peer(z)
    same(from_vector_quantize_pytorch(inside(peer, "vq")), z, quantized, indices[..., None])


def test_residual_simvq():
    peer = randomise(ResidualSimVQ(dim=DIM, num_quantizers=3, codebook_size=16))
    z = 5 * torch.randn(3, 50, DIM)
    quantized, indices, _ = peer(z)
    same(from_vector_quantize_pytorch(peer.state_dict()), z, quantized, indices)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_fsq(symmetric, bias):
    levels = [7, 5, 5, 4]
    peer = PeerFSQ(levels, dim=DIM, preserve_symmetry=symmetric, projection_has_bias=bias)
    randomise(peer)
    z = 0.3 * torch.randn(3, 50, DIM)
    quantized, indices = peer(z)
    quantizer = from_vector_quantize_pytorch(inside(peer, "fsq"), inside=FSQ(levels, symmetric))
    same(quantizer, z, quantized, indices[..., None])


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({"codebook_size": 2**10}, LFQ(10, order="big")),
        ({"codebook_size": 2**DIM}, LFQ(DIM, order="big")),
        ({"codebook_size": 2**5, "num_codebooks": 2}, LFQ(10, [5, 5], order="big")),
        ({"codebook_size": 2**10, "spherical": True}, BSQ(10, order="big")),
    ],
    ids=["projected", "plain", "two codebooks", "spherical"],
)
def test_lfq(options, ours):
    peer = randomise(PeerLFQ(dim=DIM, **options)).eval()
    z = torch.randn(3, 50, DIM)
    quantized, indices, _ = peer(z)
    quantizer = from_vector_quantize_pytorch(inside(peer, "lfq"), inside=ours)
    same(quantizer, z, quantized, indices.reshape(3, 50, -1))


def test_encodec_of_transformers():
    config = EncodecConfig(codebook_size=32, codebook_dim=DIM, hidden_size=DIM)
    peer = randomise(EncodecResidualVectorQuantizer(config))
    z = torch.randn(2, 40, DIM)
    codes = peer.encode(z.mT)
    quantized = peer.decode(codes).mT
    quantizer = from_encodec(inside(peer, "quantizer"))
    same(quantizer, z, quantized, codes.permute(1, 2, 0))
    for level, theirs in zip(quantizer.levels, peer.layers, strict=True):
        assert torch.equal(level.cluster_size, theirs.codebook.cluster_size)


@pytest.mark.parametrize("weight_norm", [None, "old", "new"])
def test_dac_of_transformers(weight_norm):
    config = DacConfig(n_codebooks=4, codebook_size=32, codebook_dim=4, hidden_size=DIM)
    peer = DacResidualVectorQuantizer(config)
    normalise = torch.nn.utils.parametrizations.weight_norm
    for layer in peer.quantizers:
        for convolution in (layer.in_proj, layer.out_proj):
            if weight_norm == "new":
                normalise(convolution)
    randomise(peer)
    z = torch.randn(2, 40, DIM)
    quantized, codes, *_ = peer(z.mT)
    state = inside(peer, "quantizer")
    if weight_norm == "old":
        # The names of torch.nn.utils.weight_norm, as in the original's checkpoints.
        for key in [key for key in state if key.endswith("_proj.weight")]:
            weight = state.pop(key)
            state[f"{key}_g"] = weight.flatten(1).norm(dim=1)[:, None, None]
            state[f"{key}_v"] = 3.0 * weight
    quantizer = from_dac(state)
    same(quantizer, z, quantized.mT, codes.mT)
    assert quantizer.inner.inner.metric == CosineSearch()


@pytest.mark.parametrize("hidden_size", [DIM, 20])
@pytest.mark.parametrize("num_semantic", [1, 2])
def test_mimi_of_transformers(hidden_size, num_semantic):
    config = MimiConfig(
        codebook_size=32,
        codebook_dim=DIM,
        vector_quantization_hidden_dimension=DIM,
        hidden_size=hidden_size,
        num_quantizers=5,
        num_semantic_quantizers=num_semantic,
    )
    peer = randomise(MimiSplitResidualVectorQuantizer(config))
    z = torch.randn(2, 40, hidden_size)
    codes = peer.encode(z.mT).transpose(0, 1)
    quantized = peer.decode(codes).mT
    quantizer = from_mimi(inside(peer, "quantizer"))
    same(quantizer, z, quantized, codes.mT)
    assert quantizer.semantic.num_codebooks == num_semantic
    semantic = quantizer.decode(codes.mT[..., :num_semantic])
    torch.testing.assert_close(semantic, peer.decode(codes[:, :num_semantic]).mT)


def test_vqmodel_of_diffusers():
    peer = VQModel(
        block_out_channels=(32,),
        latent_channels=4,
        num_vq_embeddings=32,
        vq_embed_dim=6,
        norm_num_groups=8,
    ).eval()
    peer.quantize.embedding.weight.data.normal_()
    z = torch.randn(2, 5, 7, 6)
    quantized, loss, (_, _, indices) = peer.quantize(z.movedim(-1, 1))
    quantizer = from_diffusers(peer.state_dict())
    same(quantizer, z, quantized.movedim(1, -1), indices.reshape(2, 5, 7, 1))
    torch.testing.assert_close(quantizer(z).loss, loss)


def test_training_goes_on_from_the_counts():
    """One step of the library and one here move the codes alike, up to its smoothing."""
    peer = VectorQuantize(DIM, 8, decay=0.8, rotation_trick=False, eps=1e-9)
    for _ in range(20):
        peer(torch.randn(4, 100, DIM))
    quantizer = from_vector_quantize_pytorch(peer.state_dict()).train()
    assert quantizer.update == EMA(decay=0.8)
    before = quantizer.codebook.clone()
    z = torch.randn(4, 100, DIM)
    _, _, peer_loss = peer(z)
    torch.testing.assert_close(quantizer(z).loss, peer_loss.squeeze())
    torch.testing.assert_close(
        quantizer.cluster_size, peer._codebook.cluster_size[0], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(quantizer.codebook, peer._codebook.embed[0], rtol=1e-4, atol=1e-5)
    assert (quantizer.codebook - before).abs().max() > 1e-2


def test_dac_trains_with_the_loss_of_dac():
    config = DacConfig(n_codebooks=1, codebook_size=32, codebook_dim=4, hidden_size=DIM)
    peer = randomise(DacResidualVectorQuantizer(config))
    z = torch.randn(2, 40, DIM)
    quantizer = from_dac(peer.state_dict()).train()
    _, _, _, commitment, codebook = peer(z.mT)
    output = quantizer(z)
    torch.testing.assert_close(output.loss, (0.25 * commitment + codebook).mean())
    (expected,) = torch.autograd.grad(
        (0.25 * commitment + codebook).mean(), peer.quantizers[0].codebook.weight
    )
    (gradient,) = torch.autograd.grad(output.loss, quantizer.inner.inner.codebook)
    torch.testing.assert_close(gradient, expected)
