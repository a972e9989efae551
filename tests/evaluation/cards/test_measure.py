"""Every contestant has the bits that it should, and none beats the theory."""

import subprocess
import sys

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.evaluation.cards import CONTESTANTS, SOURCES, make_source, measure, train
from vqkit.evaluation.cards.contestants import BITS, Fit, projected
from vqkit.evaluation.cards.costs import measure_costs
from vqkit.evaluation.memory import extra_memory_bytes
from vqkit.quantizers import FSQ, Quantizer


@pytest.mark.parametrize("name", CONTESTANTS)
def test_bits_and_the_bound(name):
    contestant = CONTESTANTS[name]
    source = make_source(contestant.source or "gaussian")
    quality = measure(source, contestant, num_steps=3)
    assert BITS - 0.6 < quality.bits <= BITS
    assert quality.gap_db > 0.5
    assert quality.snr_db == pytest.approx(quality.bound_snr_db - quality.gap_db)
    assert 0.0 < quality.usage <= quality.relative_usage <= 1.05
    assert 1.0 < quality.perplexity <= 2.0**quality.bits
    assert quality.num_tokens == 16384


def test_training_reaches_what_the_literature_has():
    """A Gaussian at 2 bits: Lloyd's four values give 9.30 dB (Max 1960), vectors give more."""
    source = make_source("gaussian")
    scalar = measure(source, CONTESTANTS["scalar_latent"], num_steps=60)
    assert 9.1 < scalar.snr_db < 9.35
    vector = measure(source, CONTESTANTS["vq_ema"], num_steps=60)
    assert 9.8 < vector.snr_db < vector.bound_snr_db == pytest.approx(12.04, abs=0.01)


def test_the_same_seed_gives_the_same_and_leaves_the_callers_chance_alone():
    source = make_source("laplace")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = measure(source, CONTESTANTS["split"], num_steps=4, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == measure(source, CONTESTANTS["split"], num_steps=4, seed=3)
    assert first != measure(source, CONTESTANTS["split"], num_steps=4, seed=4)


def test_projections_start_as_the_identity_or_a_rotation():
    square = projected(FSQ([5, 5, 5, 5]))
    z = torch.randn(1, 9, 4)
    torch.testing.assert_close(square(z).quantized, FSQ([5, 5, 5, 5])(z).quantized)
    wide = projected(FSQ([5] * 6))
    torch.testing.assert_close(wide.project_out(wide.project_in(z)), z)


def test_every_quantizer_of_vectors_takes_part():
    """Who adds a quantizer adds a line to the table, or says here why there is none."""
    import vqkit.quantizers as facade

    seen = set()
    source = make_source("gaussian")
    for contestant in CONTESTANTS.values():
        rows = source.draw(512, torch.Generator().manual_seed(0))
        modules = contestant.build(Fit(rows, 1)).modules()
        seen |= {type(module).__name__ for module in modules}
    exported = {
        name
        for name in facade.__all__
        if isinstance(kind := getattr(facade, name), type) and issubclass(kind, Quantizer)
    }
    of_grids_or_masks = {"MultiScaleResidual", "DualCodebook"}
    of_training_alone = {"Bypass"}
    assert exported - seen - of_grids_or_masks - of_training_alone == {"Quantizer"}


def test_no_step_is_refused():
    with pytest.raises(ConfigError, match="one step or more"):
        train(CONTESTANTS["fsq"], SOURCES["gaussian"]().draw, 0)


@pytest.mark.slow
def test_costs():
    (cost,) = measure_costs(["fsq"])
    assert cost.encode_vectors_per_second > cost.training_vectors_per_second > 0
    # Output and gradient of 65,536 vectors of 4 features are 1 MiB each.
    assert cost.training_memory_bytes is None or 2**20 < cost.training_memory_bytes < 2**26
    assert cost.quantizer == "fsq"


@pytest.mark.slow
def test_memory_is_that_of_the_peak():
    """In a process of its own: in an old one, what is freed meanwhile hides what is taken."""
    program = (
        "import torch; from vqkit.evaluation.memory import extra_memory_bytes as extra;"
        "torch.set_num_threads(1); torch.ones(2**16).sum();"
        "print(extra(lambda: torch.ones(2**24).sum()))"
    )
    try:
        extra_memory_bytes(lambda: None)
    except OSError:
        pytest.skip("this system does not tell")
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    # The counters lag behind by some pages.
    assert 2**26 - 2**20 < int(done.stdout) < 2**26 + 2**23


def test_projections_may_start_at_another_scale():
    z = torch.randn(1, 9, 4)
    halved = projected(FSQ([5, 5, 5, 5]), scale=2.0)(0.5 * z).quantized
    torch.testing.assert_close(2.0 * halved, FSQ([5, 5, 5, 5])(z).quantized)


def test_projections_inside_are_told():
    source = make_source("gaussian")
    told = {
        name: measure(source, CONTESTANTS[name], num_steps=1).is_projected
        for name in ("split", "fsq", "grouped", "scalar_latent")
    }
    assert told == {"split": True, "fsq": True, "grouped": False, "scalar_latent": False}
