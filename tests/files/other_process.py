"""Reads all token files of a folder and prints the hash of each one's tokens.

``python -m tests.files.other_process FOLDER THREADS``; run by ``test_other_process``.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch

from vqkit.files import CodingResources, read_tokens
from vqkit.tokenizers import Tokens

__all__ = ["digest"]


def digest(tokens: Tokens) -> str:
    """Over all streams of all items."""
    found = hashlib.sha256()
    for name, stream in sorted(tokens.streams.items()):
        found.update(repr((name, stream.axes, tuple(stream.indices.shape))).encode())
        found.update(stream.indices.numpy().tobytes())
    return found.hexdigest()


def main() -> None:
    folder, num_threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(num_threads)
    torch.backends.mkldnn.set_flags(_enabled=num_threads % 2 == 0)
    resources = CodingResources.of_model(folder / "model")
    files = sorted(folder.glob("*.vqt"))
    if num_threads > 1:
        files.reverse()
    found = {file.name: digest(read_tokens(file, resources=resources)) for file in files}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
