"""IBQ and the Gumbel quantizer against the formulas on whole matrices."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.spawn import Join, run_ranks
from vqkit.errors import ConfigError
from vqkit.quantizers import IBQ, AssignmentEntropy, GumbelQuantizer, Quantizer, RandomInit, VQLoss

DIM, SIZE = 5, 64


def ibq(**options) -> IBQ:
    torch.manual_seed(1)
    return IBQ(DIM, SIZE, init=RandomInit(1.0), **options)


def naive_ibq(z: Tensor, table: Tensor, loss: VQLoss, entropy: AssignmentEntropy | None):
    """The paper's equations with a matrix of tokens x codes."""
    logits = z @ table.T
    p = torch.softmax(logits, dim=-1)
    onehot = F.one_hot(logits.argmax(-1), len(table)).float()
    q = (onehot + p - p.detach()) @ table
    hard = onehot @ table
    total = (q - z).square().mean()
    total = total + loss.codebook * (z.detach() - hard).square().mean()
    total = total + loss.commitment * (z - hard.detach()).square().mean()
    if entropy is not None:
        sharp = torch.softmax(logits / entropy.temperature, dim=-1)
        each = torch.special.entr(sharp).sum(-1).mean()
        uneven = torch.tensor(float(len(table))).log() - torch.special.entr(sharp.mean(0)).sum()
        total = total + entropy.weight * (each + entropy.diversity * uneven)
    return q, total


@pytest.mark.parametrize("loss", [VQLoss.paper(), VQLoss.taming()])
@pytest.mark.parametrize("entropy", [None, AssignmentEntropy(weight=0.05, temperature=0.3)])
def test_equals_the_equations_in_value_and_gradient(loss, entropy):
    layer = ibq(loss=loss, entropy=entropy)
    z, upstream = torch.randn(2, 20, DIM, requires_grad=True), torch.randn(2, 20, DIM)
    output = layer(z)
    ((output.quantized * upstream).sum() + output.loss).backward()
    x = z.detach().flatten(0, 1).requires_grad_()
    table = layer.codebook.detach().clone().requires_grad_()
    q, total = naive_ibq(x, table, loss, entropy)
    ((q * upstream.flatten(0, 1)).sum() + total).backward()
    torch.testing.assert_close(output.quantized.flatten(0, 1), q, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.loss, total, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(z.grad.flatten(0, 1), x.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(layer.codebook.grad, table.grad, rtol=1e-3, atol=1e-4)


def test_every_code_gets_a_gradient_where_few_are_used():
    layer = ibq()
    output = layer(torch.randn(1, 8, DIM))
    output.quantized.sum().backward()
    assert len(output.indices.unique()) < 9
    assert int(layer.codebook.grad.any(-1).sum()) == SIZE


def test_gumbel_draws_in_training_and_takes_the_largest_logit_in_evaluation():
    torch.manual_seed(2)
    layer = GumbelQuantizer(DIM, 4)
    z = torch.randn(DIM).expand(1, 40_000, DIM)
    indices = layer(z).indices.flatten()
    logits = layer.logits(z[0, 0])
    found = torch.bincount(indices, minlength=4) / len(indices)
    torch.testing.assert_close(found, torch.softmax(logits, 0), rtol=0, atol=0.0125)
    assert (layer.eval()(z).indices == logits.argmax()).all()


def test_gumbel_divergence_from_uniform():
    torch.manual_seed(2)
    layer = GumbelQuantizer(DIM, SIZE, kl_weight=0.3).eval()
    z = 3 * torch.randn(2, 30, DIM)
    z.requires_grad_()
    output = layer(z)
    output.loss.backward()
    x = z.detach().clone().requires_grad_()
    log_p = torch.log_softmax(layer.logits(x), dim=-1)
    kl = (log_p.exp() * (log_p + torch.tensor(float(SIZE)).log())).sum(-1).mean()
    (0.3 * kl).backward()
    torch.testing.assert_close(output.terms["kl"], kl.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(z.grad, x.grad, rtol=1e-3, atol=1e-7)


def state_of(layer: Quantizer, items: slice) -> dict[str, Tensor]:
    """Counters and loss after a good, a bad and an empty batch."""
    torch.manual_seed(4)
    batches = torch.randn(3, 8, 6, DIM, generator=torch.Generator().manual_seed(9))
    batches[1, 0, 0, 0] = torch.nan
    losses = [layer(batch[items]).loss.detach() for batch in batches]
    layer(batches[0][:0])
    counters = {k: v for k, v in layer.state_dict().items() if v.dtype == torch.int64}
    return {**counters, "entropy_loss": losses[2]}


def make() -> list[Quantizer]:
    entropy = AssignmentEntropy(weight=1.0, temperature=0.5)
    return [
        ibq(loss=VQLoss(0.0, 0.0), joint=0.0, entropy=entropy),
        GumbelQuantizer(DIM, SIZE),
    ]


def work(rank: int, join: Join) -> list:
    join()
    items = slice(0, 3) if rank == 0 else slice(3, 8)
    return [state_of(layer, items) for layer in make()]


@pytest.mark.slow
def test_trap_5_two_ranks_count_as_one_and_share_the_entropy():
    whole = [state_of(layer, slice(None)) for layer in make()]
    for result in run_ranks(work):
        for found, expected in zip(result, whole, strict=True):
            assert found["skipped_batches"] == expected["skipped_batches"] == 1
            assert found.get("num_steps", 0) == expected.get("num_steps", 0)
        # The mean over the tokens of all ranks, not the mean of the ranks' own.
        torch.testing.assert_close(result[0]["entropy_loss"], whole[0]["entropy_loss"])


def test_settings_that_make_no_sense():
    for wrong in (
        lambda: IBQ(0, 8),
        lambda: IBQ(4, 8, temperature=0.0),
        lambda: IBQ(4, 8, joint=-1.0),
        lambda: AssignmentEntropy(temperature=0.0),
        lambda: GumbelQuantizer(4, 1),
        lambda: GumbelQuantizer(4, 8, kl_weight=-1.0),
    ):
        with pytest.raises(ConfigError, match="expected"):
            wrong()
