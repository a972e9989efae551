"""The reader printed in ``docs/format.md``: an independent implementation of the format."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqkit.tokenizers.tokens import Tokens

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "format.md"


def _code_of_the_page() -> dict[str, Any]:
    blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (source,) = [block for block in blocks if "def read_vqt" in block]
    namespace: dict[str, Any] = {}
    exec(compile(source, str(_PAGE), "exec"), namespace)
    return namespace


Tables = dict[bytes, list[list[int]]]

read_vqt: Callable[..., tuple[dict[str, Any], dict[str, list[int]]]]
read_vqt = _code_of_the_page()["read_vqt"]
RangeDecoder: Any = _code_of_the_page()["RangeDecoder"]


def fitting_hash(data: bytes, tables: Tables) -> bytes | None:
    """The token hash that a file should state; None if its tokens cannot be read at all."""
    page = _code_of_the_page()
    compute, computed = page["token_hash"], []

    def record(*arguments: Any) -> bytes:
        computed.append(compute(*arguments))
        return computed[-1]

    page["token_hash"] = record
    with contextlib.suppress(Exception):  # whatever a careless reader stumbles over
        page["read_vqt"](data, tables)
    return computed[0] if computed else None


def says_the_same(data: bytes, tokens: Tokens, tables: Tables | None = None) -> bool:
    """Whether the reader of the page finds exactly these tokens in the file."""
    header, symbols = read_vqt(data, tables or {})
    item = tokens.item(0)
    return (
        header["media"] == [item.modality, item.media[0]]
        and header["model"] == [item.tokenizer, item.fingerprint]
        and header["streams"]
        == {
            name: [list(s.axes), list(s.grid), list(s.codebook_sizes)]
            for name, s in item.streams.items()
        }
        and symbols == {name: s.indices.flatten().tolist() for name, s in item.streams.items()}
    )
