"""Coding of integers as bits: fixed-width packing, and range coding with adaptive tables."""

from vqkit.coding.adaptive import decode_adaptively, encode_adaptively
from vqkit.coding.bitpack import bits_for, pack, packed_size_bytes, unpack
from vqkit.coding.neighbours import decode_by_neighbours, encode_by_neighbours
from vqkit.coding.range_coder import MAX_ALPHABET, RangeDecoder, RangeEncoder

__all__ = [
    "MAX_ALPHABET",
    "RangeDecoder",
    "RangeEncoder",
    "bits_for",
    "decode_adaptively",
    "decode_by_neighbours",
    "encode_adaptively",
    "encode_by_neighbours",
    "pack",
    "packed_size_bytes",
    "unpack",
]
