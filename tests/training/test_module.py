"""Steps, skips, schedules and exact resumption."""

import signal

import pytest
import torch
from torch import nn

from tests.training import tiny
from vqkit.errors import ConfigError
from vqkit.losses import L1
from vqkit.quantizers import FSQ, Factorized, Residual, VectorQuantizer
from vqkit.training import (
    Checkpoints,
    Milestones,
    ProgressBar,
    StopOnInterrupt,
    TokenizerTraining,
    WarmupCosine,
    WeightAverage,
    WeightedLoss,
)

pytestmark = pytest.mark.filterwarnings(
    # Lightning advises on loaders that the tests choose on purpose.
    "ignore:.*does not have many workers:UserWarning",
)


def fit(module, data=None, callbacks=(), resume=None, **options):
    data = data or tiny.data()
    trainer = tiny.trainer(callbacks=callbacks, **options)
    if resume is None:
        torch.manual_seed(5)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer, data


def same(a: dict, b: dict) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def optimizer_state(trainer) -> list:
    return [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]


QUANTIZERS = {
    "vq": lambda: tiny.vector_quantizer(),
    "residual": lambda: Residual(
        VectorQuantizer(4, 8, revive=tiny.ReplaceUnused(window=4.0)), 3, level_dropout=0.5
    ),
    "batches": lambda: VectorQuantizer(4, 16, init=tiny.KMeans(iterations=2, batches=5)),
    "fsq": lambda: Factorized(FSQ([5, 5]), 4),
}


@pytest.mark.parametrize("kind", QUANTIZERS)
@pytest.mark.parametrize("stop", [1, 4])
def test_resume_in_mid_epoch_is_exact(tmp_path, kind, stop):
    """N + M steps equal N, resume, M: every weight, buffer, optimizer state and batch."""

    def make():
        torch.manual_seed(1)
        return tiny.training(8, tokenizer=tiny.tokenizer(QUANTIZERS[kind]()), accumulate=2)

    through, interrupted = make(), make()
    whole, data = fit(through, accumulate=2)
    interrupted.max_steps = stop
    fit(interrupted, callbacks=[Checkpoints(tmp_path, every=100)], accumulate=2)
    resumed = make()
    torch.manual_seed(99)  # whatever was drawn before does not matter
    second, second_data = fit(resumed, resume=tmp_path / "last.ckpt", accumulate=2)
    assert resumed.step == 8
    assert second_data.position == data.position == 8 * 2 * 4
    assert same(through.state_dict(), resumed.state_dict()) == []
    for a, b in zip(optimizer_state(whole), optimizer_state(second), strict=True):
        for key in a:
            assert all(
                torch.equal(torch.as_tensor(a[key][n]), torch.as_tensor(b[key][n])) for n in a[key]
            )


def test_resume_is_exact_with_workers(tmp_path):
    through, first, resumed = (tiny.training(6) for _ in range(3))
    fit(through, tiny.data(num_workers=2))
    first.max_steps = 3
    fit(first, tiny.data(num_workers=2), [Checkpoints(tmp_path)])
    fit(resumed, tiny.data(num_workers=1), resume=tmp_path / "last.ckpt")
    assert same(through.state_dict(), resumed.state_dict()) == []


def test_one_step_is_one_generator_step_with_two_optimizers_and_accumulation():
    module = tiny.training(5, accumulate=3)
    trainer, data = fit(module)
    assert module.step == 5
    assert data.position == 5 * 3 * 4
    assert trainer.global_step > 5  # Lightning counts the discriminator's steps too


def test_accumulated_batches_equal_one_large_batch():
    """The gradient of k batches is that of the batch they make together."""
    results = []
    for batch_size, accumulate in ((8, 1), (4, 2)):
        torch.manual_seed(1)
        module = tiny.training(
            3, gan=False, accumulate=accumulate, tokenizer=tiny.tokenizer(Factorized(FSQ([5]), 4))
        )
        fit(module, tiny.data(batch_size=batch_size), accumulate=accumulate)
        results.append(module.tokenizer.state_dict())
    for name, value in results[0].items():
        assert torch.allclose(value, results[1][name], atol=1e-5), name


class Poison(nn.Module):
    """Mean absolute error, but NaN or infinite at chosen calls."""

    def __init__(self, bad_calls, through_gradient):
        super().__init__()
        self.calls, self.bad_calls, self.through_gradient = 0, bad_calls, through_gradient

    def forward(self, reconstruction, target):
        self.calls += 1
        loss = (reconstruction - target).abs().mean()
        if self.calls - 1 not in self.bad_calls:
            return loss
        if self.through_gradient:  # a finite value, a gradient that is not
            return loss + (reconstruction * 0).sum().sqrt()
        return loss * float("nan")


@pytest.mark.parametrize("through_gradient", [False, True])
def test_a_batch_that_is_not_finite_is_skipped_and_counted(through_gradient):
    torch.manual_seed(0)
    module = TokenizerTraining(
        tiny.tokenizer(),
        {"pixel": WeightedLoss(Poison({2}, through_gradient))},
        tiny.optimization(clip_norm=None),
        5,
        adversary=tiny.adversary(adaptive=False),
    )
    fit(module)
    assert module.step == 5
    assert int(module.num_skipped) == 1
    for name, value in module.state_dict().items():
        assert value.isfinite().all(), name


def test_data_that_are_not_finite_leave_the_codebook_alone():
    module = tiny.training(4)
    data = tiny.data()
    load = data.train.load
    data.train.load = lambda index: load(index) * (float("nan") if index == 3 else 1.0)
    fit(module, data)
    assert int(module.num_skipped) >= 1
    assert module.tokenizer.quantizer.codebook.isfinite().all()
    assert all(value.isfinite().all() for value in module.state_dict().values())


def test_the_adversary_keeps_its_schedule():
    module = tiny.training(6, log_every=1)
    seen = []
    module._write = lambda logs: seen.append((module.step, set(logs)))
    before = [p.detach().clone() for p in module.adversary.discriminator.parameters()]

    class Watch(ProgressBar):
        def on_step(self, trainer, pl_module):
            now = list(pl_module.adversary.discriminator.parameters())
            moved = any(not torch.equal(a, b) for a, b in zip(before, now, strict=True))
            # It trains from step index 1, the second step.
            assert moved == (pl_module.step >= 2)

    fit(module, callbacks=[Watch()])
    generator = {step for step, logs in seen if "adversary/generator" in logs}
    # The ramp gives weight 0 at its first step, index 2; the log follows the step.
    assert generator == {4, 5, 6}


def test_the_discriminator_gets_no_gradient_from_the_generator():
    module = tiny.training(3)
    x = torch.randn(2, 3, 32, 32)
    reconstruction = module.tokenizer(x).reconstruction
    terms, weights = module.adversary.generator_terms(reconstruction, x, 10)
    term, _ = module.adversary.weighted_term(
        terms, weights, (reconstruction - x).abs().mean(), module.tokenizer.decoder.last_layer
    )
    term.backward()
    assert all(p.grad is None for p in module.adversary.discriminator.parameters())
    assert all(p.requires_grad for p in module.adversary.discriminator.parameters())
    assert module.tokenizer.decoder.last_layer.grad.any()


def test_the_average_follows_the_weights_and_takes_the_buffers():
    torch.manual_seed(0)
    model = tiny.tokenizer()
    average = WeightAverage(model, decay=0.9)
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in range(30):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        model(torch.randn(4, 3, 32, 32))
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, p in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach()
    for name, p in average.model.named_parameters():
        assert torch.allclose(p, expected[name], atol=1e-5), name
    assert torch.equal(average.model.quantizer.codebook, model.quantizer.codebook)
    first = average.model.fingerprint
    average.update(model, 31)
    assert average.model.fingerprint != first


def test_learning_rate():
    rate = WarmupCosine(total_steps=100, warmup_steps=10, final=0.1)
    assert rate(0) == pytest.approx(0.1)
    assert rate(9) == 1.0
    assert rate(55) == pytest.approx(0.55)
    assert rate(100) == rate(1000) == pytest.approx(0.1)
    assert WarmupCosine(total_steps=2, warmup_steps=100)(1) == pytest.approx(0.02)
    with pytest.raises(ConfigError, match="warmup_steps >= 0"):
        WarmupCosine(10, -1)
    module = tiny.training(
        4, gan=False, optimization=tiny.optimization(learning_rate=WarmupCosine(4, 0, 0.0))
    )
    trainer, _ = fit(module)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-2 * rate_at(3, 4))


def test_learning_rate_of_milestones():
    """A tenth from each of the steps on, whatever was skipped before."""
    rate = Milestones([10, 20])
    seen = [rate(step) for step in (0, 9, 10, 19, 20, 1000)]
    assert seen == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert Milestones([])(5) == 1.0
    with pytest.raises(ConfigError, match=r"ascending order, got \[20, 10\]"):
        Milestones([20, 10])
    with pytest.raises(ConfigError, match="factor > 0"):
        Milestones([1], factor=0.0)


def rate_at(step, total):
    return WarmupCosine(total)(step)


def test_interrupt_leaves_a_checkpoint_and_a_usable_model(tmp_path):
    class Interrupt(ProgressBar):
        def on_step(self, trainer, module):
            if module.step == 2:
                signal.raise_signal(signal.SIGINT)

    stop = StopOnInterrupt()
    previous = signal.getsignal(signal.SIGINT)
    module = tiny.training(100)
    fit(module, callbacks=[stop, Interrupt(), Checkpoints(tmp_path)])
    assert stop.interrupted
    assert module.step == 2
    assert signal.getsignal(signal.SIGINT) is previous
    assert (tmp_path / "last.ckpt").is_file()
    image = torch.zeros(3, 30, 31)
    assert module.exported.decode(module.exported.encode([image]))[0].shape == image.shape
    again = tiny.training(3)
    fit(again, resume=tmp_path / "last.ckpt")
    assert again.step == 3


def test_checkpoints_are_whole_and_kept_by_number(tmp_path):
    fit(tiny.training(5), callbacks=[Checkpoints(tmp_path, every=2, keep=True)])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["last.ckpt", *(f"step_{n:08d}.ckpt" for n in (2, 4, 5))]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]["num_steps"] == 5


def test_resuming_with_other_data_is_refused(tmp_path):
    fit(tiny.training(2), callbacks=[Checkpoints(tmp_path)])
    with pytest.raises(ConfigError, match="seed"):
        fit(tiny.training(4), tiny.data(seed=5), resume=tmp_path / "last.ckpt")


def test_bfloat16_leaves_the_quantizer_in_fp32():
    module = tiny.training(3)
    seen = []
    module.tokenizer.quantizer.register_forward_hook(
        lambda layer, inputs, output: seen.append((inputs[0].dtype, output.loss.dtype))
    )
    fit(module, precision="bf16-mixed")
    assert seen[0] == (torch.bfloat16, torch.float32)
    assert module.tokenizer.quantizer.codebook.dtype == torch.float32
    assert module.latest["loss/pixel"] > 0


def test_health_is_logged():
    module = tiny.training(4, log_every=2)
    fit(module, validate_every=2)
    names = {"usage", "uniform_usage", "num_tokens", "perplexity", "distinct_vectors", "revived"}
    assert {f"codebook/{name}" for name in names} <= module.latest.keys()
    assert {"validation/psnr_db", "validation/usage", "steps/skipped"} <= module.latest.keys()
    # Two steps of 4 samples of 8 x 8 tokens since the last entry.
    assert module.latest["codebook/num_tokens"] == 2 * 4 * 64


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="at least one loss"):
        TokenizerTraining(tiny.tokenizer(), {}, tiny.optimization(), 1)
    with pytest.raises(ConfigError, match="weight"):
        WeightedLoss(L1(), -1.0)
