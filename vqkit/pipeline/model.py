"""Which model a job encodes with, and how workers get hold of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from vqkit.errors import ModelMismatchError
from vqkit.tokenizers import Tokenizer, TokenizerSpec, folder, hub

__all__ = ["ModelReference", "exact_arithmetic"]


@dataclass(frozen=True)
class ModelReference:
    """A model by its place, small enough to be sent to workers.

    Args:
        path: A model folder that every worker sees under this name, or an id on the hub.
        revision: Branch, tag or commit on the hub.
        trusted: Packages outside vqkit whose classes the model may name.
    """

    path: str
    revision: str | None = None
    trusted: tuple[str, ...] = ()

    def spec(self) -> TokenizerSpec:
        """What the model says of itself, without loading it.

        Raises:
            ConfigError: There is no such model.
        """
        path = Path(self.path)
        if not path.is_dir():
            path = hub.download(
                self.path,
                revision=self.revision,
                cache_dir=None,
                force_download=False,
                local_files_only=False,
                token=None,
            )
        return folder.read_spec(path)

    def load(self, device: str, fingerprint: str) -> Tokenizer:
        """Load it.

        Raises:
            ConfigError: There is no such model here.
            ModelMismatchError: It is another one than planned.
        """
        tokenizer = Tokenizer.from_pretrained(
            self.path, revision=self.revision, trusted=self.trusted
        )
        if tokenizer.fingerprint != fingerprint:
            raise ModelMismatchError(
                f"Model {self.path}: expected the fingerprint {fingerprint} as planned, got "
                f"{tokenizer.fingerprint}. Every worker must see the same model."
            )
        return tokenizer.to(device)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Compute so that equal media give equal tokens in every worker of one kind of device.

    float32 throughout, no TF32; one thread, because sums over several depend on how many there
    are; kernels that give the same result each time.
    """
    num_threads = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(num_threads)
