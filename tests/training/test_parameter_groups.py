"""Weight decay shrinks weights; biases, gains and codes it leaves alone."""

from functools import partial

import pytest
import torch
from torch import nn

from tests.training.tiny import data, tokenizer, trainer, training
from vqkit.quantizers import IBQ, GradientUpdate, Residual, ScalarLatent, VectorQuantizer
from vqkit.training import Optimization, make_optimizer, parameter_groups

pytestmark = [pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")]


def test_codes_biases_and_gains_are_exempt():
    table = VectorQuantizer(4, 8, update=GradientUpdate())
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), Residual(table, 2), ScalarLatent(4), IBQ(4, 8)
    )
    decayed, exempt = parameter_groups(module)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 1, 1)]
    assert exempt["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(exempt["params"]) == len(list(module.parameters()))


def test_a_step_without_gradient_shrinks_weights_alone():
    module = nn.Sequential(nn.Linear(4, 4), ScalarLatent(4))
    optimizer = make_optimizer(partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5), module)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in module.named_parameters():
        if name == "0.weight":
            torch.testing.assert_close(parameter.detach(), before[name] * 0.95)
        else:
            assert torch.equal(parameter, before[name])


def test_frozen_parameters_are_in_no_group():
    module = nn.Linear(4, 4)
    module.weight.requires_grad_(False)
    (group,) = parameter_groups(module)
    assert [tuple(p.shape) for p in group["params"]] == [(4,)]


def test_training_uses_the_groups():
    quantizer = ScalarLatent(4)
    module = training(
        2,
        gan=False,
        tokenizer=tokenizer(quantizer),
        optimization=Optimization(partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)),
    )
    trainer().fit(module, datamodule=data())
    groups = module.optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert any(p is module.tokenizer.quantizer.values for p in groups[1]["params"])
    assert not torch.equal(
        module.tokenizer.quantizer.values, torch.linspace(-0.5, 0.5, 10).expand(4, 10)
    )
