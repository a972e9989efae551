"""Which code runs on a pyramid: plain torch, or the kernels that numba compiles."""

import sys
from importlib.util import find_spec

from torch import Tensor

from vqkit.errors import ConfigError, MissingExtraError

__all__ = ["check_pyramid", "runs_compiled"]

_BACKENDS = ("auto", "torch", "compiled")
# Numbers from which the kernels pay: the first use in a process loads numba (a second).
_WORTH_THE_KERNEL = 2**12
_WORTH_LOADING_IT = 2**18


def check_pyramid(dim: int, pulses: int, backend: str = "auto") -> None:
    """Refuse an empty pyramid and an unknown backend.

    Raises:
        ConfigError: ``dim < 1``, ``pulses < 1`` or no such backend.
    """
    if dim < 1 or pulses < 1:
        raise ConfigError(f"Pyramid: expected dim >= 1 and pulses >= 1, got {dim} and {pulses}.")
    if backend not in _BACKENDS:
        raise ConfigError(f"Pyramid backend: expected one of {_BACKENDS}, got {backend!r}.")


def runs_compiled(backend: str, rows: Tensor) -> bool:
    """Whether the compiled kernels take these rows.

    Raises:
        ConfigError: ``compiled`` for tensors off the CPU.
        MissingExtraError: ``compiled`` without numba.
    """
    if backend == "auto":
        loaded = "vqkit.ops.pyramid_compiled" in sys.modules
        enough = rows.numel() >= (_WORTH_THE_KERNEL if loaded else _WORTH_LOADING_IT)
        return rows.device.type == "cpu" and enough and find_spec("numba") is not None
    if backend == "torch":
        return False
    if rows.device.type != "cpu":
        raise ConfigError(
            f'Pyramid backend "compiled": expected CPU tensors, got {rows.device}. Use "auto".'
        )
    try:
        import vqkit.ops.pyramid_compiled  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"Loading the compiled pyramid kernels failed: expected numba, got {error}. Install "
            'vqkit[fast], or use backend="torch".'
        ) from error
    return True
