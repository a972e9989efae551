"""Quantizers from the weights of other libraries: the same indices, the same vectors.

Each function takes the state dict of a whole model, or of its quantizer alone, and gives a
quantizer in evaluation mode. Reading the file is the caller's, as are layers beside the quantizer.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> import torch
>>> from safetensors.torch import load_file, save_file
>>> from vqkit.quantizers import from_encodec
>>> with TemporaryDirectory() as folder:
...     path = Path(folder, "model.safetensors")
...     codes = {f"quantizer.layers.{i}.codebook.embed": torch.randn(16, 8) for i in range(4)}
...     save_file(codes, path)
...     quantizer = from_encodec(load_file(path))
>>> quantizer.encode(torch.randn(1, 50, 8)).shape
torch.Size([1, 50, 4])
"""

from vqkit.quantizers.interchange.dac import from_dac
from vqkit.quantizers.interchange.encodec import from_encodec
from vqkit.quantizers.interchange.mimi import from_mimi
from vqkit.quantizers.interchange.vector_quantize_pytorch import from_vector_quantize_pytorch
from vqkit.quantizers.interchange.vqgan import (
    from_diffusers,
    from_ibq,
    from_taming,
    from_titok,
)

__all__ = [
    "from_dac",
    "from_diffusers",
    "from_encodec",
    "from_ibq",
    "from_mimi",
    "from_taming",
    "from_titok",
    "from_vector_quantize_pytorch",
]
