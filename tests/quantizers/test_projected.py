"""Codebooks behind one trained projection: ProjectedVQ (VQGAN-LC) and SimVQ."""

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from vector_quantize_pytorch import SimVQ as PeerSimVQ

from tests.spawn import Join, run_ranks
from vqkit.errors import ConfigError
from vqkit.ops.projection import projected_rows
from vqkit.quantizers import (
    EMA,
    Cosine,
    FromTable,
    GaussianTable,
    GradientUpdate,
    ProjectedVQ,
    SimVQ,
    Table,
    VectorQuantizer,
    VQLoss,
)
from vqkit.tokenizers import build, describe

DIM, TABLE_DIM, SIZE = 4, 10, 64


def projected(**options) -> ProjectedVQ:
    return ProjectedVQ(DIM, SIZE, TABLE_DIM, table=GaussianTable(), **options)


LAYERS = {
    "projected": projected,
    "projected, bias": lambda: projected(bias=True),
    "projected, cosine": lambda: projected(metric=Cosine()),
    "trained table": lambda: projected(update=GradientUpdate()),
    "simvq": lambda: SimVQ(DIM, SIZE),
    "simvq, wide": lambda: SimVQ(DIM, SIZE, table_dim=7, bias=True),
}


@pytest.mark.parametrize("with_bias", [False, True])
def test_rows_have_the_value_of_the_table_and_the_gradient_of_the_whole_product(with_bias):
    features, weight = torch.randn(30, 5), torch.randn(3, 5)
    bias = torch.randn(3) if with_bias else None
    indices = torch.randint(30, (50,))
    upstream = torch.randn(50, 3)
    found, expected = [], []
    for naive, gradients in ((False, found), (True, expected)):
        leaves = [x.clone().requires_grad_() for x in (features, weight)]
        offset = None if bias is None else bias.clone().requires_grad_()
        table = F.linear(*leaves, offset)
        rows = table[indices] if naive else projected_rows(table.detach(), indices, *leaves, offset)
        assert torch.equal(rows, table[indices])
        wanted = leaves if offset is None else [*leaves, offset]
        gradients += torch.autograd.grad((rows * upstream).sum(), wanted)
    for mine, naive_gradient in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, naive_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_trap_14_indices_decode_through_the_projection(name):
    layer = LAYERS[name]().eval()
    z = torch.randn(3, 20, DIM)
    table = F.linear(layer.features, layer.projection.weight, layer.projection.bias)
    table = layer.metric.place(table)
    indices = layer.encode(z)
    distances = torch.cdist(layer.metric.place(z).double(), table.double())
    assert torch.equal(indices[..., 0], distances.argmin(-1))
    assert torch.equal(layer.decode(indices), layer(z).quantized)
    torch.testing.assert_close(layer.decode(indices), table[indices[..., 0]])
    everything = torch.arange(SIZE)[None, :, None]
    assert torch.equal(layer.decode(everything)[0], layer.codebook)
    assert torch.equal(layer.tables()[""], layer.codebook)


@pytest.mark.parametrize("name", ["projected", "simvq"])
def test_every_code_moves_at_a_step_and_the_table_never(name):
    layer = LAYERS[name]()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    features, before = layer.features.clone(), layer.codebook
    output = layer(torch.randn(1, 3, DIM))  # three tokens use three codes at most
    output.loss.backward()
    optimizer.step()
    assert (layer.codebook != before).any(-1).all()
    assert torch.equal(layer.features, features)
    assert [name for name, _ in layer.named_parameters()] == ["projection.weight"]


def test_a_trained_table_gets_its_gradient():
    layer = projected(update=GradientUpdate())
    output = layer(torch.randn(2, 9, DIM))
    output.loss.backward()
    used = output.indices.unique()
    assert layer.features.grad[used].any(-1).all()
    assert torch.count_nonzero(layer.features.grad.any(-1)) == len(used)


@pytest.mark.parametrize("name", ["projected", "simvq"])
def test_trap_24_outputs_follow_the_weights_after_first_use(name):
    first, second = LAYERS[name]().eval(), LAYERS[name]().eval()
    z = torch.randn(2, 30, DIM)
    first(z)
    first.load_state_dict(second.state_dict())
    assert torch.equal(first.encode(z), second.encode(z))
    with torch.no_grad():
        first.projection.weight.neg_()
    assert torch.equal(first.encode(-z), second.encode(z))
    first.double()
    assert torch.equal(first.encode(-z), second.encode(z))


def test_a_stored_model_needs_no_table_file():
    @dataclass(frozen=True)
    class Gone(Table):
        def __call__(self, num_codes: int, dim: int) -> Tensor:
            return torch.ones(num_codes, dim).cumsum(0)

    layer = ProjectedVQ(DIM, SIZE, TABLE_DIM, table=Gone())
    assert layer.table is None
    config = describe(layer)
    assert config["table"] is None
    again = build(config)
    assert not again.initialized
    with pytest.raises(ConfigError, match="expected a table of 64 vectors, got none"):
        again(torch.randn(1, 2, DIM))
    again.load_state_dict(layer.state_dict())
    assert again.initialized
    z = torch.randn(1, 50, DIM)
    assert torch.equal(again.eval()(z).quantized, layer.eval()(z).quantized)
    with torch.device("meta"):
        assert build(config).features.is_meta


def test_the_ema_mode_starts_from_the_same_table():
    layer = VectorQuantizer(DIM, SIZE, init=FromTable(GaussianTable(seed=3)), update=EMA())
    z = torch.randn(2, 20, DIM)
    layer(z)
    table = GaussianTable(seed=3)(SIZE, DIM)
    assert torch.equal(layer._searched, table)
    layer(z)
    assert not torch.equal(layer.codebook, table)


def test_tables_are_drawn_from_their_seed():
    a, b = GaussianTable(seed=1)(500, 16), GaussianTable(seed=1)(500, 16)
    assert torch.equal(a, b)
    assert not torch.equal(a, GaussianTable()(500, 16))
    assert a.norm(dim=-1).mean() == pytest.approx(1.0, abs=0.05)


@dataclass(frozen=True)
class Filled(Table):
    value: float
    num_columns: int = TABLE_DIM

    def __call__(self, num_codes: int, dim: int) -> Tensor:
        return torch.full((num_codes, self.num_columns), self.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [(Filled(1.0, 3), r"table of shape \[64, 3\]"), (Filled(torch.nan), "finite values")],
)
def test_a_bad_table_is_refused(table, message):
    with pytest.raises(ConfigError, match=message):
        ProjectedVQ(DIM, SIZE, TABLE_DIM, table=table)


def test_settings_that_make_no_sense():
    with pytest.raises(ConfigError, match="codebook_size >= 2"):
        SimVQ(DIM, 1)
    with pytest.raises(ConfigError, match="table_dim"):
        ProjectedVQ(DIM, SIZE, 0)


def test_parity_with_vector_quantize_pytorch():
    peer = PeerSimVQ(
        dim=DIM, codebook_size=SIZE, rotation_trick=False, commitment_weight=1.0,
        input_to_quantize_commit_loss_weight=0.25,
    )  # fmt: skip
    mine = SimVQ(DIM, SIZE, loss=VQLoss(commitment=0.25, codebook=1.0))
    mine.features.copy_(peer.frozen_codebook)
    with torch.no_grad():
        mine.projection.weight.copy_(peer.code_transform.weight)
    z = torch.randn(3, 40, DIM)
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    quantized, indices, loss = peer(a)
    output = mine(b)
    assert torch.equal(output.indices[..., 0], indices)
    torch.testing.assert_close(output.quantized, quantized)
    torch.testing.assert_close(output.loss, loss)
    (quantized.sum() + loss).backward()
    (output.quantized.sum() + output.loss).backward()
    torch.testing.assert_close(b.grad, a.grad)
    torch.testing.assert_close(
        mine.projection.weight.grad, peer.code_transform.weight.grad, rtol=1e-4, atol=1e-6
    )


def train(items: slice) -> list[Tensor]:
    """Codes after some steps on these items, gradients averaged over the ranks as DDP does."""
    torch.manual_seed(0)
    layers = [LAYERS[name]() for name in ("projected", "trained table", "simvq")]
    batches = torch.randn(4, 8, 6, DIM, generator=torch.Generator().manual_seed(2))
    for batch in batches:
        for layer in layers:
            gradients = torch.autograd.grad(layer(batch[items]).loss, list(layer.parameters()))
            for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
                if dist.is_initialized():
                    dist.all_reduce(gradient)
                    gradient = gradient / dist.get_world_size()
                parameter.data -= 0.5 * gradient
    return [layer.codebook for layer in layers]


def work(rank: int, join: Join) -> list[Tensor]:
    join()
    return train(slice(0, 4) if rank == 0 else slice(4, 8))


@pytest.mark.slow
def test_two_ranks_give_the_codes_of_one():
    first, second = run_ranks(work)
    for one, other, whole in zip(first, second, train(slice(None)), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-5)


def test_nothing_of_the_size_of_the_table_is_kept():
    layer = SimVQ(8, 20_000)
    kept: list[int] = []
    owned = {layer.features.data_ptr(), layer.projection.weight.data_ptr()}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in owned:
            kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(torch.randn(2, 50, 8, requires_grad=True))
    assert max(kept) <= 2 * 50 * 8


def test_copies_are_independent():
    layer = projected()
    other = copy.deepcopy(layer)
    other.reset_parameters()
    assert not torch.equal(other.codebook, layer.codebook)
    assert torch.equal(other.features, layer.features)
