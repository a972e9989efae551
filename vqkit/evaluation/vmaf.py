"""VMAF by the tool of its makers, or by an FFmpeg that has it: yours, found or named."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from vqkit.errors import MediaError, MissingExtraError
from vqkit.media import VideoWriter

__all__ = ["VMAF"]

_TOOLS = ("vmaf", "ffmpeg")
_USUAL_RATE = Fraction(25)
_LAST_LINES = 3
_CHECK_SECONDS = 30


class VMAF:
    """Netflix's Video Multi-method Assessment Fusion (Li et al. 2016), 0 to 100 for each frame.

    Both clips are written as YUV4MPEG (4:2:0, 8 bits) into a temporary folder and given to the
    program ``vmaf`` (libvmaf's) or to an ``ffmpeg`` with the filter ``libvmaf``. It looks at luma
    alone, and its usual model stands for 1080 lines seen from three times their height: scores of
    small pictures compare with each other only.

    Args:
        program: path or name of ``vmaf`` or ``ffmpeg``; None takes the first of them that is found
            on the search path and can do it.
        model: as the program names it (``version=vmaf_v0.6.1neg``); None takes its usual one.

    Raises:
        MissingExtraError: there is no such program, or the FFmpeg has no libvmaf.
    """

    def __init__(self, program: str | os.PathLike[str] | None = None, model: str | None = None):
        self.program = program
        self.model = model
        self._path = _found(program)
        self._is_ffmpeg = _is_ffmpeg(self._path)

    @property
    def definition(self) -> str:
        """For a report."""
        filter_words = ", filter libvmaf" if self._is_ffmpeg else ""
        return (
            f"mean over frames; 4:2:0 of 8 bits; model {self.model or 'of the program'}; program "
            f"{Path(self._path).name}{filter_words}"
        )

    @contextmanager
    def comparison(self, frame_rate: Fraction | None = None) -> Iterator["VMAFComparison"]:
        """Two clips that come block by block.

        Args:
            frame_rate: frames per second; 25 where it is not known, which changes no score.

        Raises:
            MediaError: the program fails.
        """
        with tempfile.TemporaryDirectory(prefix="vqkit_vmaf_") as folder, ExitStack() as stack:
            yield VMAFComparison(self, Path(folder), frame_rate or _USUAL_RATE, stack)

    def command(self, decoded: Path, original: Path, log: Path) -> list[str]:
        """The command line that writes a log in JSON."""
        if not self._is_ffmpeg:
            options = [f"--model={self.model}"] if self.model else []
            return [
                self._path, f"--reference={original}", f"--distorted={decoded}", "--json",
                f"--output={log}", *options,
            ]  # fmt: skip
        # Run in the folder: names of filters' options have no colons and quotes in them then.
        options = [f"log_path={log.name}", "log_fmt=json"]
        options += [f"model={self.model.replace('=', chr(92) + '=')}"] if self.model else []
        return [
            self._path, "-hide_banner", "-nostdin", "-i", str(decoded), "-i", str(original),
            "-lavfi", f"[0:v][1:v]libvmaf={':'.join(options)}", "-f", "null", "-",
        ]  # fmt: skip


class VMAFComparison:
    """One clip and its reconstruction on their way to the program.

    Args:
        vmaf: the program.
        folder: for the files.
        frame_rate: frames per second.
        stack: closes the files.
    """

    def __init__(self, vmaf: VMAF, folder: Path, frame_rate: Fraction, stack: ExitStack) -> None:
        self._vmaf = vmaf
        self._frame_rate = frame_rate
        self._stack = stack
        self._paths = folder / "decoded.y4m", folder / "original.y4m"
        self._writers: tuple[VideoWriter, ...] = ()

    def add(self, decoded: Tensor, original: Tensor) -> None:
        """Frames ``[channels, frames, height, width]`` in [-1, 1] that follow those before."""
        if not self._writers:
            height, width = original.shape[2:]
            self._writers = tuple(
                self._stack.enter_context(VideoWriter(path, self._frame_rate, height, width))
                for path in self._paths
            )
        for writer, frames in zip(self._writers, (decoded, original), strict=True):
            writer.write(frames.float().cpu())

    def scores(self) -> list[float]:
        """Of each frame.

        Raises:
            MediaError: the program fails, or writes something else than scores of all frames.
        """
        self._stack.close()
        log = self._paths[0].with_name("vmaf.json")
        command = self._vmaf.command(*self._paths, log)
        ran = subprocess.run(
            command, capture_output=True, text=True, errors="replace", cwd=log.parent, check=False
        )
        if ran.returncode or not log.is_file():
            said = " ".join((ran.stderr or ran.stdout).strip().splitlines()[-_LAST_LINES:])
            raise MediaError(
                f"Measuring VMAF failed: {command[0]} ended with {ran.returncode}: {said}. Try it "
                "by hand, or leave VMAF out."
            )
        try:
            content: Any = json.loads(log.read_text(encoding="utf-8"))
            return [float(frame["metrics"]["vmaf"]) for frame in content["frames"]]
        except (KeyError, TypeError, ValueError) as error:
            raise MediaError(
                f"Measuring VMAF failed: expected a log of {command[0]} with the score of each "
                f"frame, got {type(error).__name__}: {error}. Use a libvmaf of version 2 or later."
            ) from error


def _found(program: str | os.PathLike[str] | None) -> str:
    names = _TOOLS if program is None else (os.fspath(program),)
    for name in names:
        path = shutil.which(name)
        if path is not None and (not _is_ffmpeg(path) or _has_libvmaf(path)):
            return path
    raise MissingExtraError(
        f"VMAF: expected a program {' or '.join(names)} that can measure it, found none. Install "
        "libvmaf's vmaf, or an FFmpeg built with --enable-libvmaf, and say where it is."
    )


def _is_ffmpeg(path: str) -> bool:
    return "ffmpeg" in Path(path).name.lower()


def _has_libvmaf(path: str) -> bool:
    try:
        ran = subprocess.run(
            [path, "-hide_banner", "-filters"],
            capture_output=True, text=True, errors="replace", timeout=_CHECK_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "libvmaf" in ran.stdout
