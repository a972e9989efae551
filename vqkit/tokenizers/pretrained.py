"""Models as folders and on the hub."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vqkit.errors import ConfigError
from vqkit.tokenizers import folder, hub
from vqkit.tokenizers.build import build
from vqkit.tokenizers.spec import TokenizerSpec

__all__ = ["PretrainedModel"]

_Model = TypeVar("_Model", bound="PretrainedModel")


class PretrainedModel(nn.Module, ABC):
    """A module that is described by a configuration and numbers, and written and read as a folder.

    Attributes:
        folder: Where it was loaded from: what coding its tokens may need lies there too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder: Path | None = None

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Nested configuration that :func:`build` makes the untrained module of."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of configuration and weights, 32 hex digits."""

    @property
    @abstractmethod
    def spec(self) -> TokenizerSpec:
        """Description in numbers."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], card: str = "") -> None:
        """Write a model folder: ``config.json``, ``model.safetensors``, ``README.md``.

        Args:
            save_directory: Created if absent; files of a model in it are replaced.
            card: Text for the model card after its generated head.
        """
        folder.write(Path(save_directory), self.config, self.spec, self.state_dict(), card=card)

    @classmethod
    def from_pretrained(
        cls: type[_Model],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        trusted: Sequence[str] = (),
    ) -> _Model:
        """Load a model from a folder, or from the Hugging Face hub by its id.

        Args:
            pretrained_model_name_or_path: A folder, or ``organisation/name``.
            revision: Branch, tag or commit on the hub.
            cache_dir: Where downloads are kept.
            force_download: Download again.
            local_files_only: Use what is in the cache.
            token: Access token.
            trusted: Packages outside vqkit whose classes the configuration may name.

        Raises:
            ConfigError: No model there, or one that is damaged or names classes not trusted.
            MissingExtraError: A hub id without huggingface_hub installed.
        """
        path = Path(pretrained_model_name_or_path)
        if not path.is_dir():
            path = hub.download(
                str(pretrained_model_name_or_path),
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        stored = folder.read(path)
        # Shapes first, on no memory: a hostile configuration must not allocate what its weights
        # do not fill.
        with torch.device("meta"), _SkipRandom():
            folder.check_shapes(stored, cls._built(stored.config, trusted).state_dict())
        tokenizer = cls._built(stored.config, trusted)
        tokenizer.load_state_dict(stored.state, strict=True)
        if tokenizer.fingerprint != stored.spec.fingerprint:
            raise ConfigError(
                f"Model {path}: expected fingerprint {stored.spec.fingerprint}, got "
                f"{tokenizer.fingerprint}. The configuration or the weights were changed or "
                f"damaged."
            )
        tokenizer.folder = path
        return tokenizer.eval()

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload tokenizer",
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        card: str = "",
    ) -> str:
        """Upload the model folder to the Hugging Face hub; return the address of the commit.

        Raises:
            MissingExtraError: huggingface_hub is not installed.
        """
        return hub.upload(
            repo_id,
            lambda directory: self.save_pretrained(directory, card=card),
            commit_message=commit_message,
            private=private,
            token=token,
            revision=revision,
        )

    @classmethod
    def _built(cls: type[_Model], config: dict[str, Any], trusted: Sequence[str]) -> _Model:
        model = build(config, trusted=trusted)
        if not isinstance(model, cls):
            raise ConfigError(f"Model: expected a {cls.__name__}, got {type(model).__name__}.")
        return model


class _SkipRandom(TorchFunctionMode):
    """Leaves initial values undrawn: they have no memory, and it would load the compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_")):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
