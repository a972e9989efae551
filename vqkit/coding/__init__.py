"""Coding of integers as bits: fixed-width packing."""

from vqkit.coding.bitpack import bits_for, pack, packed_size_bytes, unpack

__all__ = ["bits_for", "pack", "packed_size_bytes", "unpack"]
