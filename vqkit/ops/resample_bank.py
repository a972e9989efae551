"""The filters of a change of sample rate by a rational factor, and their products with a signal.

Input and output meet again every ``period_in`` input and ``period_out`` output samples. The outputs
of a period are cut into rows of at most ``_ROW_OUTPUTS``. All outputs of a row are one product of
``taps`` input samples and a matrix, and the same row of many periods is one matrix product.
"""

import math
from typing import Final

import torch
from torch import Tensor

from vqkit.shapes import Float

__all__ = ["FilterBank"]

_ROLLOFF = 0.95
_ATTENUATION_DB = 100.0
# Kaiser (1974): the shape for this attenuation, and the length for a transition as wide as that
# from 2 * rolloff - 1 to 1, in samples of the lower rate to either side.
_KAISER_BETA = 0.1102 * (_ATTENUATION_DB - 8.7)
_HALF_WIDTH = math.ceil((_ATTENUATION_DB - 7.95) / (2.285 * math.pi * 2 * (1 - _ROLLOFF)) / 2 + 0.5)

# Longer rows waste products with zeros, shorter ones waste calls; both were tried.
_ROW_OUTPUTS = 64
_BLOCK_ROWS = 32
_KEPT_BYTES = 1 << 26


class FilterBank:
    """Filters between two rates without a common divisor.

    Rows are numbered through from output sample 0. A block is ``block_periods`` whole periods; the
    product of a row is always taken at its place in a block of that size, so that its bits depend
    on nothing but its own input samples.

    Args:
        down: input samples per ``up`` output samples.
        up: see there.
        device: where the filters are kept.
    """

    def __init__(self, down: int, up: int, device: torch.device):
        repeats = max(1, _ROW_OUTPUTS // up)
        self.down: Final = down
        self.up: Final = up
        self.device: Final = device
        self.period_in: Final = repeats * down
        self.period_out: Final = repeats * up
        self.rows_per_period: Final = -(-self.period_out // _ROW_OUTPUTS)
        self.row_outputs: Final = -(-self.period_out // self.rows_per_period)
        self.block_periods: Final = max(1, _BLOCK_ROWS // self.rows_per_period)
        self.before: Final = math.ceil(_HALF_WIDTH * max(1, down / up))
        self.taps: Final = 2 * self.before + 1 + -(-self.row_outputs * down // up)
        self._filters: dict[int, Tensor] = {}
        self._max_filters = max(1, _KEPT_BYTES // (8 * self.taps * self.row_outputs))

    @property
    def reach(self) -> int:
        """How many input samples after its own time an output can need, its whole row included."""
        return self.taps - self.before

    def first_output(self, row: int) -> int:
        """The output sample that a row begins with."""
        period, place = divmod(row, self.rows_per_period)
        return period * self.period_out + min(place * self.row_outputs, self.period_out)

    def first_input(self, row: int) -> int:
        """The first input sample that a row takes."""
        period, place = divmod(row, self.rows_per_period)
        return period * self.period_in + self._offset(place)

    def end_of_rows(self, num_rows: int) -> int:
        """How many input samples the first rows need."""
        return self.first_input(num_rows - 1) + self.taps if num_rows else 0

    def row_of(self, output: int) -> int:
        """The row that an output sample lies in."""
        period, rest = divmod(output, self.period_out)
        return period * self.rows_per_period + rest // self.row_outputs

    def rows_for(self, num_outputs: int) -> int:
        """How many rows it takes to have so many outputs."""
        periods, rest = divmod(num_outputs, self.period_out)
        return periods * self.rows_per_period + -(-rest // self.row_outputs)

    def rows_within(self, num_inputs: int) -> int:
        """How many rows need no input sample after the first ``num_inputs``."""
        room = num_inputs - self.taps + self.before  # the last of them begins up to here
        if room < 0:
            return 0
        period, rest = divmod(room, self.period_in)
        place = ((rest + 1) * self.up - 1) // (self.row_outputs * self.down)
        return period * self.rows_per_period + min(place + 1, self.rows_per_period)

    def outputs(
        self, x: Float[Tensor, "channels samples"], x_from: int, row: int, end_row: int
    ) -> Float[Tensor, "channels resampled"]:
        """The output samples of the rows from ``row`` up to ``end_row``.

        Args:
            x: float32 or float64, all input samples that the rows take.
            x_from: the place of its first sample in the signal.
            row: number of the first row.
            end_row: number of the row to stop before.
        """
        block_rows = self.block_periods * self.rows_per_period
        pieces = [x[:, :0]]
        while row < end_row:
            block = row // block_rows
            end = min(end_row, (block + 1) * block_rows)
            block_output = block * self.block_periods * self.period_out
            within = slice(
                self.first_output(row) - block_output, self.first_output(end) - block_output
            )
            channels = [self._block(channel, x_from, block, row, end)[within] for channel in x]
            if channels:
                pieces.append(torch.stack(channels).to(x.dtype))
            row = end
        return torch.cat(pieces, dim=1)

    def _block(self, x: Tensor, x_from: int, block: int, row: int, end_row: int) -> Tensor:
        """All output samples of one block of one channel; right only where the rows are asked."""
        first_period = block * self.block_periods
        columns = []
        for place in range(self.rows_per_period):
            # The periods of the block whose row at this place is asked for.
            start = -(-(row - place) // self.rows_per_period) - first_period
            stop = -(-(end_row - place) // self.rows_per_period) - first_period
            start, stop = max(0, start), min(stop, self.block_periods)
            if start < stop:
                first = (first_period + start) * self.period_in + self._offset(place) - x_from
                columns.append(self._products(x[first:], place, start, stop))
            else:
                shape = (self.block_periods, self.row_outputs)
                columns.append(x.new_zeros(shape, dtype=torch.double))
        return torch.cat(columns, dim=1)[:, : self.period_out].reshape(-1)

    def _products(self, x: Tensor, place: int, start: int, stop: int) -> Tensor:
        """The row at one place of the periods ``start`` to ``stop``; other periods are zero.

        Returns:
            Float64 [block_periods, row_outputs].
        """
        length = (stop - start - 1) * self.period_in + self.taps
        windows = x[:length].unfold(0, self.taps, self.period_in)
        # Always a copy: a product may depend on how its factors are aligned in memory.
        windows = windows.to(torch.double, copy=True, memory_format=torch.contiguous_format)
        if stop - start < self.block_periods:
            # Always one shape: the product of a row must not depend on who else is there.
            missing = (0, 0, start, self.block_periods - stop)
            windows = torch.nn.functional.pad(windows, missing)
        return windows @ self._filter(place)

    def _offset(self, place: int) -> int:
        """The first input sample of the row at this place of the first period."""
        return place * self.row_outputs * self.down // self.up - self.before

    def _filter(self, place: int) -> Tensor:
        """Float64 [taps, row_outputs]."""
        kept = self._filters.get(place)
        if kept is None:
            # What is kept for later must not be a tensor of inference mode, which has no gradient.
            with torch.inference_mode(False), torch.no_grad():
                kept = self._new_filter(place).to(self.device)
            if len(self._filters) < self._max_filters:
                self._filters[place] = kept
        return kept

    def _new_filter(self, place: int) -> Tensor:
        output = torch.arange(self.row_outputs, device="cpu") + place * self.row_outputs
        tap = torch.arange(self.taps, device="cpu") + self._offset(place)
        # The distance in input samples, times up: whole numbers, so that no place is rounded.
        distance = (output * self.down - tap[:, None] * self.up).double() / self.up
        distance = distance / max(1.0, self.down / self.up)  # in samples of the lower rate
        inside = (1 - (distance / _HALF_WIDTH).square()).clamp(min=0)
        window = torch.special.i0(_KAISER_BETA * inside.sqrt()) * (inside > 0)
        weights = torch.special.sinc(_ROLLOFF * distance) * window
        return weights / weights.sum(0)  # a constant stays what it is at every phase
