"""What cannot be read is refused, and the message says what was found."""

import pytest
import torch
from vector_quantize_pytorch import ResidualVQ, VectorQuantize

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    from_dac,
    from_diffusers,
    from_encodec,
    from_ibq,
    from_mimi,
    from_taming,
    from_vector_quantize_pytorch,
)
from vqkit.tokenizers import build, describe

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

READERS = [
    from_dac,
    from_diffusers,
    from_encodec,
    from_ibq,
    from_mimi,
    from_taming,
    from_vector_quantize_pytorch,
]


def encodec(*levels):
    return {f"quantizer.layers.{i}.codebook.embed": torch.randn(8, 4) for i in levels}


def dac():
    return {
        "quantizer.quantizers.0.codebook.weight": torch.randn(8, 4),
        "quantizer.quantizers.0.in_proj.weight": torch.randn(4, 6, 1),
        "quantizer.quantizers.0.out_proj.weight": torch.randn(6, 4, 1),
    }


def mimi():
    return {
        f"quantizer.{part}.vq.layers.0._codebook.{name}": torch.rand(shape)
        for part in ("rvq_first", "rvq_rest")
        for name, shape in (("embedding_sum", (8, 4)), ("cluster_usage", (8,)))
    }


def test_the_states_here_are_good_as_they_are():
    """So that each test below fails for its own reason."""
    assert from_encodec(encodec(0, 1, 2)).num_codebooks == 3
    assert from_dac(dac()).dim == 6
    assert from_mimi(mimi()).num_codebooks == 2


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_nothing_to_read(read):
    with pytest.raises(ConfigError, match=r"expected a name like .*, got no entries"):
        read({})
    with pytest.raises(ConfigError, match=r"got decoder.bias, encoder.weight. Is it the state"):
        read({"encoder.weight": torch.ones(2), "decoder.bias": torch.ones(2)})
    with pytest.raises(ConfigError, match=r"Pass what is below one of \['state_dict'\]"):
        read({"state_dict": encodec(0), "epoch": 3})


def test_a_missing_level():
    with pytest.raises(ConfigError, match=r"without a gap, got numbers \[0, 2\]"):
        from_encodec(encodec(0, 2))
    with pytest.raises(ConfigError, match=r"without a gap, got numbers \[1, 2\]"):
        from_encodec(encodec(1, 2))


def test_a_missing_part():
    state = {key: value for key, value in mimi().items() if "rvq_first" in key}
    with pytest.raises(ConfigError, match=r"expected rvq_rest or .* got neither"):
        from_mimi(state)


def test_levels_of_different_sizes():
    state = encodec(0, 1) | {"quantizer.layers.1.codebook.embed": torch.randn(16, 4)}
    with pytest.raises(ConfigError, match=r"one kind and size, got .*\(16,\).*\(8,\)"):
        from_encodec(state)


def test_groups_of_different_sizes():
    state = {f"rvqs.{g}.layers.0._codebook.embed": torch.randn(1, 8 + g, 4) for g in range(2)}
    with pytest.raises(ConfigError, match=r"groups of one kind and size, got .*\(8,\), \(9,\)"):
        from_vector_quantize_pytorch(state)


@pytest.mark.parametrize("shape", [(8,), (8, 4, 2), ()])
def test_wrong_shapes(shape):
    for read, state, key in (
        (from_encodec, encodec(0), "quantizer.layers.0.codebook.embed"),
        (from_dac, dac(), "quantizer.quantizers.0.codebook.weight"),
        (from_mimi, mimi(), "quantizer.rvq_first.vq.layers.0._codebook.embedding_sum"),
        (from_taming, {}, "quantize.embedding.weight"),
        (from_ibq, {}, "quantize.embedding.weight"),
    ):
        with pytest.raises(ConfigError, match=r"of shape \[any, any\], got \["):
            read(state | {key: torch.ones(shape)})


def test_projections_that_do_not_fit():
    name = "quantizer.quantizers.0.out_proj.weight"
    with pytest.raises(
        ConfigError, match=r"out_proj.weight' of shape \[6, 4, 1\], got \[7, 4, 1\]"
    ):
        from_dac(dac() | {name: torch.randn(7, 4, 1)})
    with pytest.raises(ConfigError, match=r"of shape \[6, 4, 1\], got \[6, 4, 3\]"):
        from_dac(dac() | {name: torch.randn(6, 4, 3)})
    state = dac()
    del state[name]
    with pytest.raises(ConfigError, match=r"expected '.*out_proj.weight', got no entries"):
        from_dac(state)


def test_counts_that_do_not_fit():
    state = mimi() | {"quantizer.rvq_first.vq.layers.0._codebook.cluster_usage": torch.ones(7)}
    with pytest.raises(ConfigError, match=r"cluster_usage' of shape \[8\], got \[7\]"):
        from_mimi(state)


def test_values_that_are_no_weights():
    name = "quantizer.layers.0.codebook.embed"
    with pytest.raises(ConfigError, match=r"a tensor at .*, got list"):
        from_encodec({name: [[1.0, 2.0]]})
    with pytest.raises(ConfigError, match=r"finite values in .*, got a NaN"):
        from_encodec({name: torch.tensor([[1.0, float("nan")], [0.0, 1.0]])})


def test_a_codebook_that_was_never_initialised():
    with pytest.raises(ConfigError, match=r"an initialised codebook, got .*_codebook.initted = 0"):
        from_vector_quantize_pytorch(VectorQuantize(8, 16, kmeans_init=True).state_dict())
    with pytest.raises(ConfigError, match=r"an initialised codebook, got .*inited = 0"):
        from_encodec(encodec(0) | {"quantizer.layers.0.codebook.inited": torch.zeros(1)})


@pytest.mark.parametrize("separate", [False, True])
def test_several_heads(separate):
    peer = VectorQuantize(8, 16, heads=4, codebook_dim=4, separate_codebook_per_head=separate)
    with pytest.raises(ConfigError, match=r"expected one head, got 4"):
        from_vector_quantize_pytorch(peer.state_dict())


def test_what_changes_the_codes_is_not_passed_over():
    for peer, name in (
        (VectorQuantize(8, 16, affine_param=True), "_codebook.codebook_mean"),
        (VectorQuantize(8, 16, codebook_dim=4, layernorm_after_project_in=True), "project_in.1"),
        (
            ResidualVQ(dim=8, num_quantizers=2, codebook_size=16, implicit_neural_codebook=True),
            "mlps.0",
        ),
    ):
        with pytest.raises(ConfigError, match=f"expected no other entries, got .*{name}"):
            from_vector_quantize_pytorch(peer.state_dict())
    remapped = {"quantize.embedding.weight": torch.ones(4, 2), "quantize.used": torch.arange(2)}
    for read in (from_taming, from_diffusers, from_ibq):
        with pytest.raises(ConfigError, match=r"expected no other entries, got quantize.used"):
            read(remapped)


def test_two_quantizers():
    state = {f"{name}._codebook.embed": torch.randn(1, 8, 4) for name in ("a", "b.c")}
    with pytest.raises(ConfigError, match=r"one quantizer, got those below \['a.', 'b.c.'"):
        from_vector_quantize_pytorch(state)


def test_fsq_of_other_levels():
    state = {"project_in.weight": torch.randn(4, 8), "project_out.weight": torch.randn(8, 4)}
    assert from_vector_quantize_pytorch(state, inside=FSQ([3] * 4)).dim == 8
    with pytest.raises(ConfigError, match=r"of shape \[3, any\], got \[4, 8\]"):
        from_vector_quantize_pytorch(state, inside=FSQ([3] * 3))
    with pytest.raises(ConfigError, match=r"expected a name like"):
        from_vector_quantize_pytorch(state)


def test_lfq_of_other_bits():
    mask = torch.tensor([4, 2, 1])
    with pytest.raises(ConfigError, match=r"of shape \[4\], got \[3\]"):
        from_vector_quantize_pytorch({"mask": mask}, inside=LFQ(4, order="big"))
    with pytest.raises(ConfigError, match="highest first, got"):
        from_vector_quantize_pytorch({"mask": mask.flip(0)}, inside=LFQ(3, order="big"))
    with pytest.raises(ConfigError, match="one codebook, got 2"):
        from_vector_quantize_pytorch({"mask": mask}, inside=BSQ(6, bits=[3, 3], order="big"))
    with pytest.raises(ConfigError, match='Pass order="big"'):
        from_vector_quantize_pytorch({"mask": mask}, inside=LFQ(3))


@pytest.mark.parametrize(
    "quantizer",
    [from_encodec(encodec(0, 1)), from_dac(dac()), from_mimi(mimi())],
    ids=["encodec", "dac", "mimi"],
)
def test_what_was_read_can_be_stored(quantizer):
    """Configuration and weights give the same quantizer again, ready for use."""
    again = build(describe(quantizer))
    again.load_state_dict(quantizer.state_dict(), strict=True)
    assert again.initialized
    z = torch.randn(2, 20, quantizer.dim)
    assert torch.equal(again.eval()(z).quantized, quantizer(z).quantized)


def test_the_given_state_is_left_alone():
    state = encodec(0, 1)
    before = {key: value.clone() for key, value in state.items()}
    quantizer = from_encodec(state).train()
    quantizer(torch.randn(4, 50, 4))
    assert state.keys() == before.keys()
    assert all(torch.equal(state[key], before[key]) for key in before)
