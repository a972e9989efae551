from typing import Any

import pytest

from vqkit.errors import ConfigError
from vqkit.files import Limits


def test_defaults() -> None:
    limits = Limits()
    assert (limits.header_bytes, limits.grid_rank) == (65_535, 4)
    assert (limits.num_tokens, limits.chunk_symbols) == (1 << 28, 1 << 24)
    assert limits.codebook_size == 1 << 62


@pytest.mark.parametrize("value", [-1, True])
def test_limits_are_whole_numbers(value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Wrong limit num_tokens.*got {value}"):
        Limits(num_tokens=value)
