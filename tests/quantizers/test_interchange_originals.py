"""Libraries that are not installed here: small references with their names and formulas."""

import pytest
import torch
import torch.nn.functional as F

from vqkit.quantizers import (
    IBQ,
    Cosine,
    Factorized,
    VQLoss,
    from_dac,
    from_encodec,
    from_ibq,
    from_mimi,
    from_taming,
)

DIM = 12


def nearest(z, codes):
    return torch.cdist(z.double(), codes.double()).argmin(-1)


def residual(z, levels):
    """Sum of codes and indices ``[..., levels]``; a level gives code and index of what is left."""
    total, indices = torch.zeros_like(z), []
    for level in levels:
        code, index = level(z - total)
        total = total + code
        indices.append(index)
    return total, torch.stack(indices, dim=-1)


def linear(z, state, name):
    """A linear layer or a convolution of size 1, weight normalisation as torch does it."""
    if f"{name}.weight_v" in state:
        weight = torch._weight_norm(state[f"{name}.weight_v"], state[f"{name}.weight_g"], 0)
    else:
        weight = state[f"{name}.weight"]
    return F.linear(z, weight.flatten(1), state.get(f"{name}.bias"))


def same(quantizer, z, expected):
    quantized, indices = expected
    output = quantizer(z)
    assert not quantizer.training
    assert quantizer.initialized
    assert torch.equal(output.indices, indices)
    assert len(indices.unique()) > 4
    torch.testing.assert_close(output.quantized, quantized, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "vq.", "quantizer.vq."])
@pytest.mark.parametrize("codebook_dim", [DIM, 5])
def test_encodec(prefix, codebook_dim):
    state = {}
    for i in range(3):
        level = f"{prefix}layers.{i}"
        state[f"{level}._codebook.inited"] = torch.ones(1)
        state[f"{level}._codebook.cluster_size"] = 3 * torch.rand(16)
        state[f"{level}._codebook.embed"] = torch.randn(16, codebook_dim)
        state[f"{level}._codebook.embed_avg"] = torch.randn(16, codebook_dim)
        if codebook_dim != DIM:
            state[f"{level}.project_in.weight"] = torch.randn(codebook_dim, DIM)
            state[f"{level}.project_in.bias"] = torch.randn(codebook_dim)
            state[f"{level}.project_out.weight"] = 0.3 * torch.randn(DIM, codebook_dim)
            state[f"{level}.project_out.bias"] = torch.randn(DIM)

    def quantize(i, z):
        projected = codebook_dim != DIM
        name = f"{prefix}layers.{i}"
        codes = state[f"{name}._codebook.embed"]
        index = nearest(linear(z, state, f"{name}.project_in") if projected else z, codes)
        code = codes[index]
        return linear(code, state, f"{name}.project_out") if projected else code, index

    z = torch.randn(2, 40, DIM)
    quantizer = from_encodec(state)
    same(quantizer, z, residual(z, [lambda x, i=i: quantize(i, x) for i in range(3)]))
    level = quantizer.levels[2] if codebook_dim == DIM else quantizer.levels[2].inner
    assert torch.equal(level.cluster_size, state[f"{prefix}layers.2._codebook.cluster_size"])


@pytest.mark.parametrize("prefix", ["", "quantizer."])
def test_dac(prefix):
    """Weight-normalised projections; unit vectors are compared, the raw code is put out."""
    state = {}
    for i in range(3):
        name = f"{prefix}quantizers.{i}"
        state[f"{name}.codebook.weight"] = torch.randn(32, 4) * torch.rand(32, 1) * 5
        for layer, rows, columns in (("in_proj", 4, DIM), ("out_proj", DIM, 4)):
            state[f"{name}.{layer}.weight_g"] = torch.rand(rows, 1, 1) + 0.5
            state[f"{name}.{layer}.weight_v"] = torch.randn(rows, columns, 1)
            state[f"{name}.{layer}.bias"] = 0.1 * torch.randn(rows)

    def quantize(i, z):
        name = f"{prefix}quantizers.{i}"
        codes = state[f"{name}.codebook.weight"]
        low = linear(z, state, f"{name}.in_proj")
        cosine = F.normalize(low.double(), dim=-1) @ F.normalize(codes.double(), dim=-1).T
        index = cosine.argmax(-1)
        return linear(codes[index], state, f"{name}.out_proj"), index

    z = torch.randn(2, 40, DIM)
    expected = residual(z, [lambda x, i=i: quantize(i, x) for i in range(3)])
    same(from_dac(state), z, expected)
    # The distance of raw vectors would choose other codes: the test can tell.
    raw = linear(z, state, f"{prefix}quantizers.0.in_proj")
    other = nearest(raw, state[f"{prefix}quantizers.0.codebook.weight"])
    assert not torch.equal(other, expected[1][..., 0])


@pytest.mark.parametrize("old_names", [False, True])
def test_mimi(old_names):
    state = {}
    for part, depth in (("rvq_first", 1), ("rvq_rest", 3)):
        name = f"quantizer.{part}"
        state[f"{name}.input_proj.weight"] = torch.randn(4, DIM, 1)
        state[f"{name}.output_proj.weight"] = torch.randn(DIM, 4, 1)
        for i in range(depth):
            codebook = f"{name}.vq.layers.{i}._codebook"
            state[f"{codebook}._initialized"] = torch.ones(1)
            # A count of zero: the floor keeps its code finite.
            state[f"{codebook}.cluster_usage"] = torch.rand(16).index_fill_(0, torch.tensor(3), 0)
            state[f"{codebook}.embedding_sum"] = torch.randn(16, 4).index_fill_(
                0, torch.tensor(3), 0
            )

    def quantize(codebook, z):
        usage = state[f"{codebook}.cluster_usage"].clamp(min=1e-5)
        codes = state[f"{codebook}.embedding_sum"] / usage[:, None]
        index = nearest(z, codes)
        return codes[index], index

    def part(name, depth, z):
        low = linear(z, state, f"{name}.input_proj")
        levels = [f"{name}.vq.layers.{i}._codebook" for i in range(depth)]
        total, indices = residual(low, [lambda x, c=c: quantize(c, x) for c in levels])
        return linear(total, state, f"{name}.output_proj"), indices

    z = torch.randn(2, 40, DIM)
    first, first_indices = part("quantizer.rvq_first", 1, z)
    rest, rest_indices = part("quantizer.rvq_rest", 3, z)
    counts = state["quantizer.rvq_rest.vq.layers.2._codebook.cluster_usage"]
    if old_names:
        for old, new in (
            ("inited", "_initialized"),
            ("cluster_size", "cluster_usage"),
            ("embed_avg", "embedding_sum"),
        ):
            for key in [key for key in state if key.endswith(f".{new}")]:
                state[key.replace(new, old)] = state.pop(key)
    quantizer = from_mimi(state)
    same(quantizer, z, (first + rest, torch.cat([first_indices, rest_indices], dim=-1)))
    assert isinstance(quantizer.acoustic, Factorized)
    assert quantizer.acoustic.project_in.bias is None
    assert torch.equal(quantizer.acoustic.inner.levels[2].cluster_size, counts)


@pytest.mark.parametrize("prefix", ["", "quantize.", "vq_model.quantize."])
def test_taming(prefix):
    weight = torch.randn(32, DIM)
    state = {f"{prefix}embedding.weight": weight}
    if prefix:
        state |= {"quant_conv.weight": torch.randn(3), "transformer.embedding.weight": weight[:5]}
    z = torch.randn(2, 5, 5, DIM)
    index = nearest(z, weight)
    quantizer = from_taming(state)
    same(quantizer, z, (weight[index], index[..., None]))
    # The order of the weights that taming has unless told otherwise.
    square = (z - weight[index]).square().mean()
    torch.testing.assert_close(quantizer(z).loss, 1.25 * square)
    assert quantizer.loss == VQLoss.taming()
    assert [name for name, _ in quantizer.named_parameters()] == ["codebook"]


def test_taming_with_unit_vectors():
    """As LlamaGen: codes of any length in the file, of length 1 in use."""
    weight = 3 * torch.randn(32, DIM)
    state = {"quantize.embedding.weight": weight, "quantize.codebook_used": torch.zeros(100)}
    z = torch.randn(2, 5, 5, DIM)
    unit = F.normalize(weight, dim=-1)
    index = nearest(F.normalize(z, dim=-1), unit)
    quantizer = from_taming(state, cosine=True)
    assert quantizer.metric == Cosine()
    same(quantizer, z, (unit[index], index[..., None]))
    assert not torch.equal(nearest(z, weight), index)


def test_ibq():
    """The largest dot product, not the nearest code."""
    weight = torch.randn(32, DIM) * (1 + torch.rand(32, 1))
    z = torch.randn(2, 5, 5, DIM)
    index = (z.double() @ weight.double().T).argmax(-1)
    quantizer = from_ibq({"quantize.embedding.weight": weight, "encoder.x": torch.ones(1)})
    assert isinstance(quantizer, IBQ)
    same(quantizer, z, (weight[index], index[..., None]))
    # |q - z|^2 three times in the source, with 1, 1 and beta.
    square = (z - weight[index]).square().mean()
    torch.testing.assert_close(quantizer(z).loss, 2.25 * square)
    assert not torch.equal(nearest(z, weight), index)
