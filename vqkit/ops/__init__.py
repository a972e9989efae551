"""Pure functions without state."""

from vqkit.ops.gradient import rotation_trick, straight_through
from vqkit.ops.nearest import nearest_code
from vqkit.ops.projection import projected_rows
from vqkit.ops.radix import digits_to_index, index_to_digits
from vqkit.ops.statistics import CodeStatistics, code_statistics

__all__ = [
    "CodeStatistics",
    "code_statistics",
    "digits_to_index",
    "index_to_digits",
    "nearest_code",
    "projected_rows",
    "rotation_trick",
    "straight_through",
]
