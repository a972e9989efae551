"""What a header promises costs nothing until it is there; measured where the kernel counts."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from tests.files.crafted import HEADER, chunk, fields, foot, head
from vqkit.errors import TokenFileError
from vqkit.files import TokenReader, dumps, loads, read_info, read_part, recover_tokens, verify

def stream(data):
    with TokenReader(data) as reader:
        return list(reader)

readers = (loads, read_info, read_part, recover_tokens, verify, stream)
for read in readers:  # so that everything is loaded
    read(head() + chunk(6, bytes([0x1B, 0b1001])) + foot([fields(6, 2)], [3, 2, 1, 0, 1, 2]))

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

start = peak_bytes()
for shape in {shapes}:
    text = HEADER.replace(b"[2,3],[4]", shape)
    for data in (
        head(text),
        head(text) + fields(1 << 40, 1 << 40),
        head(text) + chunk(6, bytes(2)) + foot([fields(6, 2)], []),
        head(text) + foot([fields(1 << 40, 1 << 38)], []),
        head(text) + fields(1 << 24, 1 << 24, mode=2) + bytes(100),
        head(text) + chunk(0, bytes(8), mode=6) + foot([fields(0, 8, mode=6)], []),
    ):
        for read in readers:
            try:
                read(data)
            except TokenFileError:
                continue
            raise AssertionError((read, data))
print((peak_bytes() - start) >> 20)
"""

# A grid of 2^40 tokens, one hidden behind an empty axis, one at the limit of 2^28 tokens, and one
# of as many codebooks as a header has room for, each with the largest table.
SHAPES = [
    b"[1048576,1048576],[4]",
    b"[0,1099511627776],[4]",
    b"[16384,16384],[4]",
    b"[2,3],[" + b"4611686018427387904," * 3000 + b"4]",
]


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts other units elsewhere")
def test_a_header_that_promises_too_much_costs_less_than_50_mb() -> None:
    program = PROGRAM.replace("{shapes}", repr(SHAPES))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    assert int(done.stdout) < 50
