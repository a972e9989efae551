"""vqkit: discrete tokenizers and neural codecs of images, audio and video.

    import vqkit

    tokenizer = vqkit.Tokenizer.from_pretrained("runs/quickstart/model")
    tokens = vqkit.encode("photo.jpg", tokenizer)
    vqkit.save(tokens, "photo.vqt")
    image = vqkit.decode(vqkit.load("photo.vqt"), tokenizer)

Everything here is loaded when it is first asked for, so that ``import vqkit`` costs nothing and
``import vqkit.quantizers`` loads torch and einops alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqkit.facade import decode, encode, load, save
    from vqkit.tokenizers import Tokenizer, Tokens

    __version__: str

__all__ = ["Tokenizer", "Tokens", "__version__", "decode", "encode", "load", "save"]

_HOMES = {
    "Tokenizer": "vqkit.tokenizers",
    "Tokens": "vqkit.tokenizers",
    "decode": "vqkit.facade",
    "encode": "vqkit.facade",
    "load": "vqkit.facade",
    "save": "vqkit.facade",
}
_PACKAGES = (
    "coding",
    "data",
    "errors",
    "evaluation",
    "files",
    "losses",
    "media",
    "metrics",
    "nets",
    "ops",
    "paths",
    "quantizers",
    "testing",
    "tokenizers",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _PACKAGES:
        return import_module(f"vqkit.{name}")
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'vqkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vqkit")
    except PackageNotFoundError:  # a bare checkout on the path, never installed
        return "0+unknown"
