"""Scalar latent quantization: learned values that are used, and that get their gradient."""

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers import ScalarLatent, VQLoss


def moved(dim: int = 6, num_values: int = 7) -> ScalarLatent:
    layer = ScalarLatent(dim, num_values)
    with torch.no_grad():
        layer.values.copy_(torch.randn(dim, num_values))  # in no order
    return layer


def test_takes_the_nearest_value_of_each_dimension():
    layer = moved()
    z = 2 * torch.randn(3, 50, 6)
    distances = (z[..., None] - layer.values.detach()).abs()
    assert torch.equal(layer.encode(z), distances.argmin(-1))


def test_lowest_index_on_ties():
    layer = ScalarLatent(1, 3)
    with torch.no_grad():
        layer.values.copy_(torch.tensor([[1.0, -1.0, 1.0]]))
    assert layer.encode(torch.tensor([[[0.0], [5.0], [-3.0]]])).flatten().tolist() == [0, 0, 1]


def test_trap_13_values_get_a_gradient_and_are_what_decodes():
    layer = moved()
    z = torch.randn(2, 40, 6)
    output = layer(z)
    output.loss.backward()
    used = torch.zeros(6, 7, dtype=torch.bool)
    used[torch.arange(6).expand_as(output.indices), output.indices] = True
    assert torch.equal(layer.values.grad != 0, used)
    with torch.no_grad():
        layer.values.add_(torch.randn_like(layer.values))
    indices = layer.eval().encode(z)
    assert int(indices.min()) >= 0
    assert torch.equal(layer.decode(indices), layer(z).quantized)
    assert torch.equal(layer.decode(indices), layer.values[torch.arange(6), indices])


def test_loss_and_gradients_are_those_of_the_paper():
    layer = moved()
    z = torch.randn(2, 40, 6, requires_grad=True)
    output = layer(z)
    (output.quantized.sum() + output.loss).backward()
    x = z.detach().clone().requires_grad_()
    values = layer.values.detach().clone().requires_grad_()
    codes = values[torch.arange(6), output.indices]
    loss = 0.01 * (x.detach() - codes).square().mean() + 0.01 * (x - codes.detach()).square().mean()
    (x.sum() + loss).backward()
    torch.testing.assert_close(output.loss, loss)
    torch.testing.assert_close(z.grad, x.grad)
    torch.testing.assert_close(layer.values.grad, values.grad)


def test_the_output_gives_the_values_no_gradient():
    layer = ScalarLatent(4, loss=VQLoss(0.0, 0.0))
    output = layer(torch.randn(1, 5, 4, requires_grad=True))
    (output.quantized.sum() + output.loss).backward()
    assert not layer.values.grad.any()


def test_values_learn_the_levels_of_the_data():
    torch.manual_seed(0)
    levels = torch.tensor([-2.0, 0.3, 1.1])
    layer = ScalarLatent(2, 3, loss=VQLoss(commitment=0.0, codebook=1.0))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(400):
        z = levels[torch.randint(3, (1, 64, 2))] + 0.01 * torch.randn(1, 64, 2)
        optimizer.zero_grad()
        layer(z).loss.backward()
        optimizer.step()
    torch.testing.assert_close(
        layer.values.detach().sort(1).values, levels.expand(2, 3), rtol=0, atol=0.05
    )


def test_settings_that_make_no_sense():
    with pytest.raises(ConfigError, match="num_values >= 2"):
        ScalarLatent(4, 1)
