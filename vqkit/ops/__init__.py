"""Pure functions without state."""

from vqkit.ops.assignment_entropy import assignment_entropy
from vqkit.ops.bit_entropy import bit_entropy
from vqkit.ops.bits import bits_to_index, index_to_bits, reverse_bits
from vqkit.ops.counter_noise import gumbel_noise, normal_noise, token_keys, uniform_noise
from vqkit.ops.gradient import directional, rotation_trick, straight_through
from vqkit.ops.loudness import loudness_lufs, normalise_loudness
from vqkit.ops.mel import mel_filterbank
from vqkit.ops.nearest import nearest_code
from vqkit.ops.projection import projected_rows
from vqkit.ops.radix import digits_to_index, index_to_digits
from vqkit.ops.resample import (
    StreamingResampler,
    part_inputs,
    resample,
    resample_part,
    resampled_length,
)
from vqkit.ops.select_code import select_code
from vqkit.ops.soft_code import soft_code
from vqkit.ops.statistics import CodeStatistics, code_statistics
from vqkit.ops.stft import magnitude_spectrogram, reflect_pad, spectrogram

__all__ = [
    "CodeStatistics",
    "StreamingResampler",
    "assignment_entropy",
    "bit_entropy",
    "bits_to_index",
    "code_statistics",
    "digits_to_index",
    "directional",
    "gumbel_noise",
    "index_to_bits",
    "index_to_digits",
    "loudness_lufs",
    "magnitude_spectrogram",
    "mel_filterbank",
    "nearest_code",
    "normal_noise",
    "normalise_loudness",
    "part_inputs",
    "projected_rows",
    "reflect_pad",
    "resample",
    "resample_part",
    "resampled_length",
    "reverse_bits",
    "rotation_trick",
    "select_code",
    "soft_code",
    "spectrogram",
    "straight_through",
    "token_keys",
    "uniform_noise",
]
