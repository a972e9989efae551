"""Coding of integers as bits: fixed-width packing, and range coding with adaptive tables."""

from vqkit.coding.adaptive import decode_adaptively, encode_adaptively
from vqkit.coding.bitpack import bits_for, pack, packed_size_bytes, unpack
from vqkit.coding.range_coder import MAX_ALPHABET, RangeDecoder, RangeEncoder

__all__ = [
    "MAX_ALPHABET",
    "RangeDecoder",
    "RangeEncoder",
    "bits_for",
    "decode_adaptively",
    "encode_adaptively",
    "pack",
    "packed_size_bytes",
    "unpack",
]
