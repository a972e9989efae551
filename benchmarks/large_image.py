"""A picture of 400 megapixels written and read in strips: peak memory and time.

``python -m benchmarks.large_image --folder SCRATCH`` writes a PNG of ``--side`` x ``--side`` pixels
strip by strip and reads it again, each in a process of its own whose peak of resident memory the
system reports. ``--output benchmarks/results`` keeps the results.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environment import as_markdown, describe_environment, write_results

_STRIP_ROWS = 512

_SHARED = """
import resource, sys, time
import torch
from vqkit.media import ImageReader, ImageWriter
path, side, num_rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
columns = torch.arange(side, dtype=torch.int64)

def strip_at(start):
    rows = torch.arange(start, min(start + num_rows, side))[:, None]
    noise = (rows * 7919 + columns * 104729 + (rows * columns) % 8191) % 5
    smooth = ((columns // 40 + rows // 23) % 240 + noise).to(torch.uint8)
    return torch.stack([smooth, 255 - smooth, (smooth // 2) + 60])

began = time.perf_counter()
"""
_ENDED = """
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak, time.perf_counter() - began)
"""
_WRITE = (
    _SHARED
    + """
with ImageWriter(path, side, side) as writer:
    for start in range(0, side, num_rows):
        writer.write(strip_at(start))
"""
    + _ENDED
)
_READ = (
    _SHARED
    + """
with ImageReader(path, max_pixels=side * side) as reader:
    for number, strip in enumerate(reader.strips(num_rows)):
        if number % 8 == 0:
            levels = ((strip + 1) * 127.5).round().to(torch.uint8)
            assert torch.equal(levels, strip_at(number * num_rows)), number
"""
    + _ENDED
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where the picture goes while it lasts")
    parser.add_argument("--output", type=Path, help="folder for large-image.json and .md")
    arguments = parser.parse_args()
    environment = describe_environment()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        path = Path(name, "large.png")
        rows = [
            _measured(what, program, path, arguments.side)
            for what, program in (("write", _WRITE), ("read", _READ))
        ]
    report = "\n".join(
        [
            "# Large pictures in strips\n",
            as_markdown(environment),
            f"\nA PNG of {arguments.side} x {arguments.side} pixels in strips of {_STRIP_ROWS}",
            "rows. Peak memory is that of the whole process, Python and torch included.\n",
            "| | peak memory, MB | seconds | megapixels/s | file, MB |",
            "|---|---|---|---|---|",
            *(
                f"| {row['what']} | {row['peak_memory_mb']} | {row['seconds']} | "
                f"{row['megapixels_per_second']} | {row['file_mb']} |"
                for row in rows
            ),
            "",
        ]
    )
    print(report)
    if arguments.output:
        results = {"environment": environment, "side_pixels": arguments.side, "rows": rows}
        write_results(arguments.output, "large-image", results, report)


def _measured(what: str, program: str, path: Path, side: int) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", program, path, str(side), str(_STRIP_ROWS)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak_bytes, seconds = map(float, result.stdout.split())
    return {
        "what": what,
        "peak_memory_mb": round(peak_bytes / 1e6),
        "seconds": round(seconds, 1),
        "megapixels_per_second": round(side**2 / 1e6 / seconds, 1),
        "file_mb": round(path.stat().st_size / 1e6, 1),
    }


if __name__ == "__main__":
    main()
