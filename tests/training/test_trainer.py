"""What the trainer is made with."""

import pytest
import torch

from vqkit.training import make_trainer


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_automatic_precision_asks_the_processor(supported, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    made = make_trainer(accelerator="cpu", devices=1, precision="auto")
    assert made.precision == expected


def test_a_precision_that_is_named_stays(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert make_trainer(accelerator="cpu", devices=1, precision="bf16-mixed").precision == (
        "bf16-mixed"
    )
