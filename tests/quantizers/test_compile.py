"""``torch.compile`` of the evaluation pass, in one graph."""

import os
import shutil
import subprocess
import sys

import pytest

# In a process of its own: tracing goes through neither the shape checks nor the import hook.
SCRIPT = """
import torch
from vqkit.quantizers import (
    FSQ, BetaGain, Factorized, HadamardRotation, LogUniformGain, MuLawGain, PyramidVQ
)

torch.manual_seed(0)
torch.set_num_threads(1)
# The second backend traces and differentiates but leaves the C++ compiler out: for the variants.
for quantizer, backend in (
    (FSQ([8, 5, 5]), "inductor"),
    (Factorized(FSQ([8, 5, 5]), 16), "inductor"),
    (FSQ([4, 4, 4], symmetric=True), "aot_eager"),
    (Factorized(FSQ([4, 4, 4], bound="clamp"), 16), "aot_eager"),
    (PyramidVQ(16, 16), "inductor"),
    (PyramidVQ(64, 28, MuLawGain(), group_dim=32), "aot_eager"),
    (PyramidVQ(32, 8, BetaGain(), 8, HadamardRotation()), "aot_eager"),
):
    quantizer.eval()
    z = torch.randn(2, 6, 7, quantizer.dim)
    compiled = torch.compile(quantizer, fullgraph=True, backend=backend)
    decode = torch.compile(quantizer.decode, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected, output = quantizer(z), compiled(z)
        decoded = decode(output.indices)
    assert torch.equal(output.indices, expected.indices)
    torch.testing.assert_close(output.quantized, expected.quantized)
    assert torch.equal(output.loss, expected.loss)
    torch.testing.assert_close(decoded, expected.quantized)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")),
    reason="torch.compile on a CPU needs a C++ compiler (none of $CXX, c++, g++, clang++ is here)",
)
def test_evaluation_compiles_to_one_graph_with_equal_outputs():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=280,
        # One compile thread: a pool of workers would import torch once each.
        env=os.environ | {"VQKIT_CHECK_SHAPES": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "equal"
