"""Mode 5: coded with the learned prior that the model's folder holds."""

import numpy as np

from vqkit.coding import DIGEST_BYTES
from vqkit.errors import CodingError
from vqkit.files.format_error import FormatError
from vqkit.files.modes.base import ChunkLayout, Indices
from vqkit.files.resources import ChunkPrior, CodingResources, MissingResourceError

__all__ = ["Learned"]


class Learned:
    """The digest of the prior, then what the prior makes of the chunk."""

    number = 5
    name = "learned prior"

    def encode(
        self, indices: Indices, layout: ChunkLayout, resources: CodingResources
    ) -> bytes | None:
        """Code with the prior, unless it does not cover the chunk or decodes otherwise."""
        prior = resources.prior
        shape = layout.grid, layout.codebook_sizes
        if prior is None or not prior.covers(layout.stream, *shape):
            return None
        payload = prior.encode(layout.stream, indices, *shape)
        if payload is None:
            return None
        # A prior that decodes otherwise than it encodes must cost bytes, never tokens.
        try:
            same = np.array_equal(prior.decode(layout.stream, payload, *shape), indices)
        except CodingError:
            same = False
        return prior.digest + payload if same else None

    def decode(
        self, payload: bytes, layout: ChunkLayout, resources: CodingResources, num_codebooks: int
    ) -> Indices:
        """Decode with the prior that the payload names."""
        prior = _prior(payload, layout, resources)
        try:
            indices = prior.decode(
                layout.stream, payload[DIGEST_BYTES:], layout.grid, layout.codebook_sizes
            )
        except CodingError as error:
            raise FormatError(str(error)) from None
        _check(indices, layout)
        return indices[:, :num_codebooks]


def _prior(payload: bytes, layout: ChunkLayout, resources: CodingResources) -> ChunkPrior:
    """The prior whose digest the payload begins with."""
    if len(payload) < DIGEST_BYTES:
        raise FormatError(f"expected the digest of a prior, got {len(payload)} bytes")
    digest, prior = payload[:DIGEST_BYTES], resources.prior
    if prior is None or prior.digest != digest:
        got = "none" if prior is None else f"one with digest {prior.digest.hex()}"
        raise MissingResourceError(f"expected the prior with digest {digest.hex()}, got {got}")
    if not prior.covers(layout.stream, layout.grid, layout.codebook_sizes):
        raise FormatError(
            f"expected a chunk that its prior covers, got stream {layout.stream!r} of "
            f"{list(layout.grid)} positions in codebooks of {list(layout.codebook_sizes)}"
        )
    return prior


def _check(indices: Indices, layout: ChunkLayout) -> None:
    """A prior is built of a file, so what it says is checked like a file."""
    expected = layout.num_positions, len(layout.codebook_sizes)
    if indices.dtype != np.int64 or indices.shape != expected:
        raise FormatError(
            f"expected int64 {list(expected)} of the prior, got {indices.dtype} "
            f"{list(indices.shape)}"
        )
    if indices.size and ((indices < 0) | (indices >= np.array(layout.codebook_sizes))).any():
        raise FormatError("expected indices within their codebooks of the prior, got others")
