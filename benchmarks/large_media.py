"""Large pictures and long clips through the command line: peak memory and time.

``python -m benchmarks.large_media --photo PHOTO --clip CLIP`` encodes a photo, a clip and a picture
of ``--side`` x ``--side`` pixels, drawn for this, with the networks of the quickstart recipes
(random weights, which cost what trained ones do), and decodes them again, each verb in a process of
its own whose peak of resident memory the system reports. ``--only photo clip picture`` chooses;
``--output benchmarks/results`` keeps the results.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import verb_in_own_process
from vqkit.cli.train import to_hydra
from vqkit.media import ImageReader, ImageWriter, VideoReader
from vqkit.paths import config_dir
from vqkit.tokenizers import Tokenizer

MAX_PIXELS = 1_000_000_000
_STRIP_ROWS = 512
_KINDS = ("photo", "clip", "picture")
_RECIPES = {"photo": "image/quickstart", "clip": "video/quickstart", "picture": "image/quickstart"}
_LIMITS_GB = {"photo": 2.0, "clip": 2.0, "picture": 3.0}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--side", type=int, default=20_000, help="of the picture drawn, in pixels")
    parser.add_argument("--only", nargs="+", choices=_KINDS, default=_KINDS)
    parser.add_argument("--folder", type=Path, help="where files go while the benchmark lasts")
    parser.add_argument("--output", type=Path, help="folder for large-media.json and .md")
    arguments = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for kind in arguments.only:
            folder = Path(name, kind)
            folder.mkdir()
            rows.append(measure(kind, media_of(kind, arguments, folder), folder))
    results = {"environment": describe_environment(), "rows": rows}
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, "large-media", results, report)


def media_of(kind: str, arguments: argparse.Namespace, folder: Path) -> Path:
    """The file to encode."""
    if kind == "picture":
        path = folder / "picture.png"
        draw(path, arguments.side)
        return path
    given: Path | None = getattr(arguments, kind)
    if given is None:
        raise SystemExit(f"large_media: expected --{kind} with a file, or --only without {kind}")
    return given


def draw(path: Path, side: int) -> None:
    """Write a picture of slopes and noise that is never whole in memory."""
    with ImageWriter(path, side, side) as writer:
        for start in range(0, side, _STRIP_ROWS):
            writer.write(strip_at(start, min(_STRIP_ROWS, side - start), side))


def strip_at(start: int, num_rows: int, side: int) -> Tensor:
    """Rows of the picture: ``[3, num_rows, side]``, uint8."""
    columns = torch.arange(side, dtype=torch.int64)
    rows = torch.arange(start, start + num_rows)[:, None]
    noise = (rows * 7919 + columns * 104729 + (rows * columns) % 8191) % 5
    smooth = ((columns // 40 + rows // 23) % 240 + noise).to(torch.uint8)
    return torch.stack([smooth, 255 - smooth, (smooth // 2) + 60])


def measure(kind: str, media: Path, folder: Path) -> dict[str, Any]:
    """One file there and back."""
    model, tokens = folder / "model", folder / "tokens.vqt"
    decoded = folder / ("decoded.mp4" if kind == "clip" else "decoded.png")
    untrained(_RECIPES[kind]).save_pretrained(model)
    steps = {
        "encode": verb_in_own_process(
            "encode", media, "-m", model, "-o", tokens, "--max-pixels", MAX_PIXELS
        ),
        "decode": verb_in_own_process("decode", tokens, "-m", model, "-o", decoded),
    }
    sizes = [size_of(kind, path) for path in (media, decoded)]
    if sizes[0] != sizes[1]:
        raise RuntimeError(f"{kind}: decoded {sizes[1]} of {sizes[0]}")
    return {
        "what": kind,
        "recipe": _RECIPES[kind],
        "size": sizes[0],
        "limit_gb": _LIMITS_GB[kind],
        "file_bytes": tokens.stat().st_size,
        "steps": steps,
    }


def untrained(recipe: str) -> Tokenizer:
    """The tokenizer of a recipe with random weights."""
    torch.manual_seed(0)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("train", overrides=to_hydra([f"recipe={recipe}"]))
    tokenizer: Tokenizer = instantiate(config.tokenizer, _convert_="all")
    return tokenizer.eval()


def size_of(kind: str, path: Path) -> list[int]:
    """Frames of a clip, rows and columns, as they are found in the file."""
    if kind == "clip":
        with VideoReader(path) as clip:
            num_frames = sum(block.shape[1] for block in clip.blocks(64))
            return [num_frames, clip.height, clip.width]
    with ImageReader(path, max_pixels=MAX_PIXELS) as picture:
        return [picture.height, picture.width]


def as_report(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "# Large pictures and long clips",
        "",
        as_markdown(results["environment"]),
        "",
        "Peak memory is that of the whole process of the verb, Python and torch included.",
        "",
        "| what | size | networks | verb | seconds | megapixels/s | peak memory, GB | limit, GB |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for row in results["rows"]:
        megapixels = 1e-6
        for side in row["size"]:
            megapixels *= side
        for verb, step in row["steps"].items():
            lines.append(
                f"| {row['what']} | {'x'.join(map(str, row['size']))} | `{row['recipe']}` | {verb} "
                f"| {step['seconds']:.1f} | {megapixels / step['seconds']:.1f} "
                f"| {step['peak_bytes'] / 1e9:.2f} | {row['limit_gb']:g} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
