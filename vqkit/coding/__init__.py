"""Coding of integers as bits: fixed-width packing, range coding with adaptive tables, ranks."""

from vqkit.coding.adaptive import decode_adaptively, encode_adaptively
from vqkit.coding.bitpack import bits_for, pack, packed_size_bytes, unpack
from vqkit.coding.neighbours import decode_by_neighbours, encode_by_neighbours
from vqkit.coding.range_coder import MAX_ALPHABET, RangeDecoder, RangeEncoder
from vqkit.coding.ranks import decode_ranks, encode_ranks
from vqkit.coding.tables import (
    DIGEST_BYTES,
    MAX_TABLE_ENTRIES,
    FrequencyTable,
    StreamTables,
    can_have_tables,
    max_tables_bytes,
    num_entries,
)

__all__ = [
    "DIGEST_BYTES",
    "MAX_ALPHABET",
    "MAX_TABLE_ENTRIES",
    "FrequencyTable",
    "RangeDecoder",
    "RangeEncoder",
    "StreamTables",
    "bits_for",
    "can_have_tables",
    "decode_adaptively",
    "decode_by_neighbours",
    "decode_ranks",
    "encode_adaptively",
    "encode_by_neighbours",
    "encode_ranks",
    "max_tables_bytes",
    "num_entries",
    "pack",
    "packed_size_bytes",
    "unpack",
]
