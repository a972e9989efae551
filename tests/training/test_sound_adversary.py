"""Adversaries of several discriminators, feature matching, update probability, the balancer."""

from functools import partial

import pytest
import torch
from torch import nn

from tests.training import tiny
from tests.training.test_module import fit, optimizer_state, same
from vqkit.errors import ConfigError
from vqkit.losses import (
    L1,
    L2,
    AdversarialSchedule,
    FeatureMatching,
    GradientBalancer,
    Hinge,
    LeastSquares,
)
from vqkit.nets import (
    DiscriminatorEnsemble,
    MultiPeriodDiscriminator,
    MultiScaleSTFTDiscriminator,
    PeakNormalisation,
)
from vqkit.quantizers import FSQ, Factorized
from vqkit.training import Adversary, Checkpoints, ProgressBar, TokenizerTraining, WeightedLoss

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")

DECAY = 0.9


class RowsAsSound(nn.Module):
    """A picture's pixels in a row, as sound: what is under test knows of no modality."""

    def __init__(self):
        super().__init__()
        self.discriminator = DiscriminatorEnsemble(
            {
                "periods": MultiPeriodDiscriminator([2, 5], width=2),
                "spectra": MultiScaleSTFTDiscriminator(window_sizes=[64], width=2),
            },
            PeakNormalisation(),
        )

    def forward(self, x):
        return self.discriminator(x.mean(1).flatten(1)[:, None])


def adversary(**options) -> Adversary:
    settings = {
        "loss": Hinge(),
        "schedule": AdversarialSchedule(2, update_probability=0.5),
        "weight": 3.0,
        "adaptive": False,
        "feature_matching": FeatureMatching(3.0, relative=True),
        **options,
    }
    return Adversary(
        settings.pop("discriminator", None) or RowsAsSound(),
        settings.pop("optimizer", None) or partial(torch.optim.Adam, lr=1e-3),
        **settings,
    )


def training(max_steps: int, *, balanced: bool = True, **options) -> TokenizerTraining:
    torch.manual_seed(4)
    return TokenizerTraining(
        tiny.tokenizer(),
        {"pixel": WeightedLoss(L1(), 0.1), "squared": WeightedLoss(L2(), 1.0)},
        options.pop("optimization", None) or tiny.optimization(),
        max_steps,
        adversary=options.pop("adversary", None) or adversary(),
        balancer=partial(GradientBalancer, decay=DECAY) if balanced else None,
        log_every=1,
        **options,
    )


@pytest.mark.parametrize("stop", [2, 5])
def test_resume_is_exact(tmp_path, stop):
    """Both networks, both optimizers, the balancer's averages, and the steps at which D trains."""
    through, interrupted, resumed = (training(8) for _ in range(3))
    whole, _ = fit(through)
    interrupted.max_steps = stop
    fit(interrupted, callbacks=[Checkpoints(tmp_path, every=100)])
    second, _ = fit(resumed, resume=tmp_path / "last.ckpt")
    assert same(through.state_dict(), resumed.state_dict()) == []
    assert any("balancer.norm_sums" in name for name in through.state_dict())
    for a, b in zip(optimizer_state(whole), optimizer_state(second), strict=True):
        for key in a:
            assert all(
                torch.equal(torch.as_tensor(a[key][n]), torch.as_tensor(b[key][n])) for n in a[key]
            )


class Watch(ProgressBar):
    """Notes at which steps the discriminator moved."""

    def __init__(self, module):
        super().__init__()
        self.module, self.moved = module, []
        self.before = self.weights()

    def weights(self):
        return [p.detach().clone() for p in self.module.adversary.discriminator.parameters()]

    def on_step(self, trainer, module):
        now = self.weights()
        if any(not torch.equal(a, b) for a, b in zip(self.before, now, strict=True)):
            self.moved.append(module.step - 1)
        self.before = now


def test_the_discriminator_trains_at_the_steps_of_its_schedule():
    module = training(12)
    watch = Watch(module)
    fit(module, callbacks=[watch])
    expected = [s for s in range(12) if module.adversary.schedule.trains_discriminator(s)]
    assert watch.moved == expected
    assert 0 < len(expected) < 10


def test_the_discriminator_that_judges_is_the_one_that_learns():
    """WavTokenizer built a second one after its losses had captured the first: it stayed frozen."""
    module = training(6, adversary=adversary(schedule=AdversarialSchedule()))
    replaced = module.adversary.discriminator
    module.adversary.discriminator = RowsAsSound()
    judged = []
    module.adversary.discriminator.register_forward_hook(lambda *call: judged.append(call[0]))
    frozen = {name: p.detach().clone() for name, p in replaced.named_parameters()}
    watch = Watch(module)
    trainer, _ = fit(module, callbacks=[watch])
    assert watch.moved == list(range(6))
    assert all(torch.equal(frozen[name], p) for name, p in replaced.named_parameters())
    moved = {id(p) for group in trainer.optimizers[1].param_groups for p in group["params"]}
    assert moved == {id(p) for p in judged[0].parameters()}
    # Its gradients come from both kinds of media at each step.
    assert len(judged) == 6 * 4


def test_terms_are_means_over_discriminators_and_layers():
    torch.manual_seed(0)
    ours = adversary(loss=LeastSquares(), feature_matching=FeatureMatching(2.0))
    media, reconstruction = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    terms, weights = ours.generator_terms(reconstruction, media, 10)
    fake, real = ours.discriminator(reconstruction), ours.discriminator(media)
    expected = sum(0.5 * (1 - logits).square().mean() for logits in fake.logits) / 3
    torch.testing.assert_close(terms["adversary/generator"], expected)
    layers = [
        (f - r).abs().mean()
        for one, other in zip(fake.features, real.features, strict=True)
        for f, r in zip(one, other, strict=True)
    ]
    torch.testing.assert_close(terms["adversary/features"], torch.stack(layers).mean())
    assert weights == {"adversary/generator": 3.0, "adversary/features": 2.0}
    loss, logs = ours.discriminator_loss(media, reconstruction)
    halves = [
        0.5 * ((1 - r).square().mean() + f.square().mean())
        for r, f in zip(real.logits, fake.logits, strict=True)
    ]
    torch.testing.assert_close(loss, torch.stack(halves).mean())
    means = torch.stack([logits.mean() for logits in real.logits])
    torch.testing.assert_close(logs["adversary/real_logit"], means.mean())


def test_the_generators_terms_leave_the_discriminator_and_the_media_alone():
    ours = adversary()
    media = torch.randn(2, 3, 32, 32, requires_grad=True)
    reconstruction = torch.randn(2, 3, 32, 32, requires_grad=True)
    terms, _ = ours.generator_terms(reconstruction, media, 10)
    for name in ours.term_names:
        reconstruction.grad = None
        terms[name].backward(retain_graph=True)
        assert reconstruction.grad.any()
    assert media.grad is None
    assert all(p.grad is None and p.requires_grad for p in ours.discriminator.parameters())


def test_terms_begin_and_rise_with_the_schedule():
    ours = adversary(schedule=AdversarialSchedule(start_step=5, ramp_steps=4))
    media = torch.randn(1, 3, 32, 32)
    assert ours.generator_terms(media, media, 5) == ({}, {})
    _, weights = ours.generator_terms(media, media, 6)
    assert weights == {"adversary/generator": 0.75, "adversary/features": 0.75}


def test_without_a_balancer_the_weighted_terms_are_added():
    torch.manual_seed(0)
    ours = adversary()
    output = torch.randn(2, 3, 32, 32, requires_grad=True)
    terms, weights = ours.generator_terms(output, torch.randn(2, 3, 32, 32), 10)
    total, logs = ours.weighted_term(terms, weights, output.mean(), output)
    torch.testing.assert_close(total, 3 * sum(terms.values()))
    assert float(logs["adversary/weight"]) == 3.0
    module = training(4, balanced=False)
    fit(module)
    assert {"adversary/generator", "adversary/features"} <= module.latest.keys()
    assert int(module.num_skipped) == 0


def test_the_balanced_gradient_reaches_the_output_and_is_logged():
    module = training(6, adversary=adversary(schedule=AdversarialSchedule()))
    gradients = []

    def watch(layer, inputs, output):
        if layer.training:
            output.reconstruction.register_hook(gradients.append)

    module.tokenizer.register_forward_hook(watch)
    fit(module)
    names = ("pixel", "squared", "adversary/generator", "adversary/features")
    shares = torch.tensor([0.1, 1.0, 3.0, 3.0]) / 7.1
    # The balancer asks for the gradient of each loss, and the last one is what goes on.
    assert len(gradients) == 6 * 5
    *parts, balanced = gradients[:5]
    # At the first step the averages are the norms of this batch.
    norms = [part.flatten(1).norm(dim=1).mean() * len(part) for part in parts]
    expected = sum(
        share * part / norm for share, part, norm in zip(shares, parts, norms, strict=True)
    )
    torch.testing.assert_close(balanced, expected)
    for index, name in enumerate(names):
        assert module.latest[f"balancer/{name}_norm"] > 0
        assert module.balancer.names[index] == name
    assert int(module.num_skipped) == 0


def test_losses_of_any_scale_train_the_same():
    results = []
    for scale in (1.0, 1e4):

        class Scaled(nn.Module):
            factor = scale

            def forward(self, x, y):
                return self.factor * (x - y).abs().mean()

        torch.manual_seed(4)
        module = TokenizerTraining(
            tiny.tokenizer(Factorized(FSQ([5, 5]), 4)),
            {"pixel": WeightedLoss(Scaled()), "squared": WeightedLoss(L2())},
            tiny.optimization(),
            4,
            balancer=GradientBalancer,
        )
        fit(module)
        results.append(module.tokenizer.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-4, rtol=1e-3)


def test_a_gradient_that_is_not_finite_is_skipped_and_leaves_the_averages():
    class Poison(nn.Module):
        calls = 0

        def forward(self, x, y):
            self.calls += 1
            bad = (x * 0).sum().sqrt() if self.calls == 3 else 0.0
            return (x - y).abs().mean() + bad

    torch.manual_seed(4)
    module = TokenizerTraining(
        tiny.tokenizer(),
        {"pixel": WeightedLoss(Poison()), "squared": WeightedLoss(L2())},
        tiny.optimization(),
        5,
        adversary=adversary(schedule=AdversarialSchedule()),
        balancer=GradientBalancer,
    )
    fit(module)
    assert int(module.num_skipped) == 1
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_refuses_what_does_not_go_together():
    with pytest.raises(ConfigError, match="a balancer or an adaptive weight, got both"):
        training(1, adversary=adversary(adaptive=True))
    media = torch.randn(2, 3, 32, 32)
    with pytest.raises(ConfigError, match="LeCAM expected one discriminator, got 3"):
        adversary(lecam_weight=0.1).discriminator_loss(media, media)
    plain = adversary(discriminator=tiny.PatchDiscriminator(base_width=8, num_layers=1))
    with pytest.raises(ConfigError, match="gives features, got PatchDiscriminator"):
        plain.generator_terms(media, media, 10)
    for settings in ({"clip_norm": 0.0}, {"average_decay": 1.0}):
        with pytest.raises(ConfigError, match="Optimization: expected 0 <= average_decay"):
            tiny.optimization(**settings)
