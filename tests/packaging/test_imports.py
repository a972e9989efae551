"""What an import costs, seen by a fresh process."""

import subprocess
import sys

SCRIPT = """
import sys

def third_party():
    tops = {name.partition(".")[0] for name in sys.modules}
    return tops - sys.stdlib_module_names

import torch, einops
allowed = third_party() | {"vqkit"}
assert "vqkit" not in third_party(), "nothing to see: vqkit is already loaded"
import vqkit.quantizers
assert "vqkit" in third_party()
print(*sorted(third_party() - allowed))
heavy = "lightning hydra torchvision torchaudio matplotlib transformers PIL omegaconf safetensors"
print(*sorted(third_party() & {*heavy.split(), "torchmetrics", "numba", "jaxtyping", "beartype"}))
"""


def test_quantizers_load_torch_and_einops_alone():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "\n\n", f"loads besides torch and einops: {result.stdout}"
