"""Shape annotations that cost nothing: jaxtyping when it is loaded, plain types when not.

The test suite loads jaxtyping before vqkit and checks every annotated signature; for users the
annotations read as documentation and ``import vqkit.quantizers`` loads torch and einops alone.
The axis words are listed in ``docs/architecture.md``.
"""

import sys
from typing import TYPE_CHECKING, Any

__all__ = ["Bool", "Float", "Int", "UInt8"]

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, UInt8
else:

    class _Unchecked:
        """``Float[Tensor, "batch dim"]`` evaluates to ``Tensor``."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            return item[0]

    Bool = Float = Int = UInt8 = _Unchecked
