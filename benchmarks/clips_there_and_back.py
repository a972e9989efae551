"""Every clip of a folder through the verbs: file, token file, file; what must be kept is compared.

``python -m benchmarks.clips_there_and_back CLIPS`` encodes each with a small causal tokenizer of
random weights (strides 4x8x8), its sound copied, decodes the token file as Matroska, and compares
number, size, times and duration of the frames, and that there is sound where there was. It is not
the pictures that are looked at: the decoder makes grey ones, which cost little to write.
``--output benchmarks/results`` keeps the results. Exit status 1 if anything differs.
"""

import argparse
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.environment import as_markdown, describe_environment, write_results
from vqkit.cli.main import main as vqkit
from vqkit.files import read_info
from vqkit.media import FrameTimes, VideoInfo, VideoReader, find_videos
from vqkit.nets import LightVideoDecoder, LightVideoEncoder
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer, VideoFrontend

_MILLISECOND = Fraction(1, 1000)
"""What Matroska rounds times to."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, help="a folder, searched with all below it")
    parser.add_argument("--output", type=Path, help="folder for clips-there-and-back.json and .md")
    arguments = parser.parse_args()
    paths = find_videos(arguments.clips)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_tokenizer().save_pretrained(folder / "model")
        rows = []
        for path in paths:
            rows.append(there_and_back(path, folder))
            print(rows[-1], flush=True)
    results: dict[str, Any] = {"environment": describe_environment(), "clips": rows}
    num_wrong = sum(bool(row["differs"]) for row in rows)
    print(f"{len(rows)} clips, {num_wrong} of them not as they were")
    if arguments.output is not None:
        write_results(arguments.output, "clips-there-and-back", results, markdown(results))
    return int(num_wrong > 0)


def small_tokenizer() -> Tokenizer:
    """Cheap beside reading and writing the files."""
    torch.manual_seed(0)
    sizes = {"dim": 4, "widths": [8, 8], "num_blocks": [1, 1]}
    encoder, decoder = LightVideoEncoder(**sizes), LightVideoDecoder(**sizes)
    for parameter in decoder.parameters():
        nn.init.zeros_(parameter)
    return Tokenizer(VideoFrontend(), encoder, FSQ([5] * 4), decoder, "video/small")


def there_and_back(path: Path, folder: Path) -> dict[str, Any]:
    """What became of one clip; ``differs`` names what is not as it was."""
    model, file, back = folder / "model", folder / "clip.vqt", folder / "clip.mkv"
    begin = time.perf_counter()
    for words in (["encode", path, "-o", file], ["decode", file, "-o", back]):
        status = vqkit([*map(str, words), "-m", str(model), "-f", "-q"])
        if status:
            return {"name": path.name, "differs": [f"vqkit {words[0]} ended with {status}"]}
    seconds = time.perf_counter() - begin
    (was, times), (now, new_times) = described(path), described(back)
    return {
        "name": path.name,
        "frames": len(times.ticks),
        "size": f"{was.width} x {was.height}",
        "rate": f"{float(times.frame_rate or 0):.3f}",
        "constant": times.is_constant,
        "sound": was.audio[0].encoding if was.audio else "",
        "kilobytes": round(read_info(file).size_bytes / 1000),
        "seconds": round(seconds, 1),
        "differs": differences(was, now, times, new_times),
    }


def described(path: Path) -> tuple[VideoInfo, FrameTimes]:
    """What a file says, and the times of all its frames, which are decoded for that."""
    with VideoReader(path, channels=1, dtype=torch.uint8) as reader:
        for _ in reader.blocks(16):
            pass
        return reader.info, reader.times


def differences(
    was: VideoInfo, now: VideoInfo, times: FrameTimes, new_times: FrameTimes
) -> list[str]:
    """What is not as it was, but for the rounding of times."""
    found = []
    if len(times.ticks) != len(new_times.ticks):
        return [f"{len(new_times.ticks)} frames of {len(times.ticks)}"]
    if (was.height, was.width) != (now.height, now.width):
        found.append(f"{now.width} x {now.height}")
    rounding = times.time_base + _MILLISECOND
    if abs(new_times.seconds - times.seconds) > rounding:
        found.append(f"{float(new_times.seconds)} s of {float(times.seconds)}")
    starts = [
        [(tick - each.ticks[0]) * each.time_base for tick in each.ticks]
        for each in (times, new_times)
    ]
    if max(abs(a - b) for a, b in zip(*starts, strict=True)) > rounding:
        found.append("times of frames")
    if bool(was.audio) != bool(now.audio):
        found.append("sound")
    return found


def markdown(results: dict[str, Any]) -> str:
    """A table of all clips."""
    columns = ("name", "frames", "size", "rate", "constant", "sound", "kilobytes", "seconds")
    lines = [
        "# Clips, there and back",
        "",
        as_markdown(results["environment"]),
        "",
        f"| {' | '.join(columns)} | differs |",
        f"|{'---|' * (len(columns) + 1)}",
    ]
    for row in results["clips"]:
        cells = [str(row.get(name, "")) for name in columns]
        lines.append(f"| {' | '.join(cells)} | {'; '.join(row['differs']) or 'nothing'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
