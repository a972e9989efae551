"""``torch.compile`` in one graph: evaluation always, training where no update asks the data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# In their training pass the data decide what is done next: a codebook that an average moves, that
# is initialised from data or revived. Every other configuration must train in one graph.
UPDATED_BY_DATA = frozenset(
    {
        "dual_vq",
        "encodec",
        "grouped_residual_vq",
        "grouped_vq",
        "mimi",
        "multiscale_vq",
        "opq",
        "residual_vq",
        "residual_vq_affine",
        "split_residual_vq",
        "vq_affine",
        "vq_anchors",
        "vq_cosine",
        "vq_cosine_search",
        "vq_diveq",
        "vq_ema",
        "vq_factorized",
        "vq_gumbel_gradient",
        "vq_index_backpropagation",
        "vq_noise_substitution",
        "vq_orthogonal",
        "vq_rotation",
        "vq_small",
        "vq_stochastic",
        "vq_timeout",
    }
)
# Through the C++ compiler as well; the others are traced and differentiated, which is faster.
THROUGH_INDUCTOR = frozenset(
    {"bsq", "fsq", "lfq", "pyramid", "residual_fsq", "simvq", "vq_gradient"}
)

# In a process of its own: tracing goes through neither the shape checks nor the import hook.
SCRIPT = """
import copy, sys
import torch
from tests.contracts.test_quantizers import CONFIGS, make
from tests.quantizers.test_compile import THROUGH_INDUCTOR, UPDATED_BY_DATA

torch.set_num_threads(1)
torch._inductor.config.fallback_random = True


def run(quantizer, call, z):
    torch.manual_seed(1)
    z = z.clone().requires_grad_()
    output = call(z)
    (output.quantized.square().sum() + output.loss).backward()
    gradients = {name: p.grad for name, p in quantizer.named_parameters() if p.grad is not None}
    return output, z.grad, gradients, quantizer.state_dict()


names = {path.stem for path in CONFIGS}
assert names >= UPDATED_BY_DATA | THROUGH_INDUCTOR, names
for path in CONFIGS:
    for backend in ["aot_eager"] + ["inductor"] * (path.stem in THROUGH_INDUCTOR):
        torch._dynamo.reset()
        quantizer = make(path)
        z = torch.randn(2, *(quantizer.grid or (6, 7)), quantizer.dim)
        if path.stem not in UPDATED_BY_DATA:
            for data in (z, torch.full_like(z, torch.nan)):  # what is not finite is counted
                eager, traced = copy.deepcopy(quantizer), copy.deepcopy(quantizer)
                compiled = torch.compile(traced, fullgraph=True, backend=backend)
                expected, result = run(eager, eager, data), run(traced, compiled, data)
                torch.testing.assert_close(result[0].indices, expected[0].indices)
                torch.testing.assert_close(
                    (result[0].quantized, result[0].loss, *result[1:]),
                    (expected[0].quantized, expected[0].loss, *expected[1:]),
                    equal_nan=True,
                )
        quantizer.eval()
        compiled = torch.compile(quantizer, fullgraph=True, backend=backend)
        decode = torch.compile(quantizer.decode, fullgraph=True, backend="aot_eager")
        with torch.no_grad():
            expected, output = quantizer(z), compiled(z)
            decoded = decode(output.indices)
        assert torch.equal(output.indices, expected.indices)
        torch.testing.assert_close(output.quantized, expected.quantized)
        torch.testing.assert_close(output.loss, expected.loss)
        torch.testing.assert_close(decoded, expected.quantized)
        print(path.stem, backend, flush=True)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")),
    reason="torch.compile on a CPU needs a C++ compiler (none of $CXX, c++, g++, clang++ is here)",
)
def test_one_graph_with_equal_outputs_gradients_and_state():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=880,
        cwd=Path(__file__).resolve().parents[2],
        # One compile thread: a pool of workers would import torch once each.
        env=os.environ | {"VQKIT_CHECK_SHAPES": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "equal"
