"""A stand-in for a learned prior: what the container asks of one, with a rule for a network."""

import numpy as np

from vqkit.coding import RangeDecoder, RangeEncoder

Indices = np.ndarray


class RampPrior:
    """Expects every index to be one more than that of the position before."""

    def __init__(self, digest: bytes = b"ramp", stream: str = "tokens") -> None:
        self.digest = digest
        self.stream = stream

    def covers(self, stream: str, grid: tuple[int, ...], codebook_sizes: tuple[int, ...]) -> bool:
        return stream == self.stream and max(codebook_sizes) <= 1024

    def encode(
        self,
        stream: str,
        indices: Indices,
        grid: tuple[int, ...],
        codebook_sizes: tuple[int, ...],
    ) -> bytes:
        encoder = RangeEncoder()
        steps = np.diff(indices, axis=0, prepend=-1)
        for column, size in zip(steps.T, codebook_sizes, strict=True):
            encoder.encode((column - 1) % size, _weights(size))
        return encoder.to_bytes()

    def decode(
        self,
        stream: str,
        payload: bytes,
        grid: tuple[int, ...],
        codebook_sizes: tuple[int, ...],
    ) -> Indices:
        decoder = RangeDecoder(payload)
        count = int(np.prod(grid, dtype=int))
        columns = [
            (np.cumsum(decoder.decode(count, _weights(size)) + 1) - 1) % size
            for size in codebook_sizes
        ]
        decoder.finish()
        return np.stack(columns, axis=1)


def _weights(size: int) -> np.ndarray:
    return np.array([1000.0] + [1.0] * (size - 1))
