"""Triton's interpreter, which runs kernels on a CPU: for the tests of the GPU backends."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["INTERPRETED", "run_interpreted"]

# Triton asks once, when a kernel is defined: it takes a process of its own.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def run_interpreted(file: str) -> None:
    """Run the tests of a file again, in a process where kernels are interpreted."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", file],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _index_by_item() -> None:
    # The interpreter of Triton 3.6 takes int() of an array of one element as the bound of a loop,
    # which NumPy 2.4 refuses.
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patched


if INTERPRETED:
    _index_by_item()
