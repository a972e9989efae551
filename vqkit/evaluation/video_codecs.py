"""H.264, VP9 and AV1 as references for clips, each by the bytes of a file in memory."""

import io
from collections.abc import Iterator
from fractions import Fraction

from torch import Tensor

from vqkit.errors import MediaError
from vqkit.evaluation.footage import BLOCK_FRAMES, Footage, footage_of
from vqkit.evaluation.media_kind import CLIPS
from vqkit.evaluation.quality import Medium
from vqkit.evaluation.reference_codec import CodedItem, ReferenceCodec
from vqkit.media import VideoEncoding, VideoReader, VideoWriter
from vqkit.media.pyav import load_av

__all__ = ["AV1", "VP9", "X264"]

_USUAL_RATE = Fraction(25)
_SETTINGS_UNIT = 6  # of H.264: "supplemental enhancement information"


class _VideoCodec(ReferenceCodec):
    """A codec of clips at constant quality (CRF), as :class:`vqkit.media.VideoWriter` writes it.

    Colours are those of the writer and the reader: BT.709 of 8 bits, 4:2:0 (4:4:4 of H.264 where a
    side is odd), so what a file loses by that is part of its quality, as it is for whoever plays
    it.

    Args:
        name: for options.
        title: for a reader, with all that bytes depend on.
        format: of the file.
        encoding: how frames are encoded, without the CRF.
        settings: usual values of the CRF; a higher one is a smaller file.
        largest: the largest value.
    """

    kind = CLIPS
    larger_is_better = False

    def __init__(
        self,
        name: str,
        title: str,
        *,
        format: str,
        encoding: VideoEncoding,
        settings: tuple[int, ...],
        largest: int,
    ) -> None:
        self.name = name
        self.title = title
        self.format = format
        self.encoding = encoding
        self.default_settings = settings
        self.settings_range = (0, largest)

    def label(self, setting: int) -> str:
        """The CRF."""
        return f"CRF {setting}"

    def round_trip(self, name: str, medium: Medium, setting: int) -> CodedItem:
        """Of a clip, decoded as it is taken; ``payload_bytes`` are those of its packets alone."""
        if not isinstance(medium, Tensor | Footage):
            raise MediaError(f"Measuring {self.name} failed: expected a clip ({name}).")
        data, channels = self._encoded(name, footage_of(medium), setting)
        return CodedItem(len(data), _decoded(data, channels), _payload_bytes(data))

    def _encoded(self, name: str, footage: Footage, crf: int) -> tuple[bytes, int]:
        """The file, and the channels of the clip."""
        blocks = footage.blocks()
        first = next(blocks, None)
        if first is None:
            raise MediaError(f"Measuring {self.name} failed: it has no frames ({name}).")
        channels, _, height, width = first.shape
        file = io.BytesIO()
        rate = footage.frame_rate or _USUAL_RATE
        encoding = VideoEncoding(self.encoding.encoding, preset=self.encoding.preset, crf=crf)
        with VideoWriter(
            file, rate, height, width, format=self.format, encoding=encoding
        ) as writer:
            writer.write(first.cpu())
            for block in blocks:
                writer.write(block.cpu())
        return file.getvalue(), channels


def _decoded(data: bytes, channels: int) -> Iterator[Tensor]:
    with VideoReader(data, channels=channels) as reader:
        yield from reader.blocks(BLOCK_FRAMES)


def _payload_bytes(data: bytes) -> int:
    """Bytes of the packets, without the encoder's own settings, which x264 writes into the first.

    For a few kilobytes of video the container and that text are a good part of a file.
    """
    with load_av().open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        is_h264 = stream.codec_context.name == "h264"
        total = 0
        for packet in container.demux(stream):
            total += packet.size
            if is_h264:
                total -= _settings_bytes(bytes(packet))
    return int(total)


def _settings_bytes(packet: bytes) -> int:
    """Bytes of the units that do not belong to a picture, each behind its length in four bytes."""
    place, found = 0, 0
    while place + 4 < len(packet):
        length = int.from_bytes(packet[place : place + 4], "big")
        if packet[place + 4] & 31 == _SETTINGS_UNIT:
            found += 4 + length
        place += 4 + length
    return found


# Groups of pictures (GOP) are the encoders' own choice: key frames where the scene changes and at
# most so far apart, B-frames where they have any.
X264 = _VideoCodec(
    "x264",
    "H.264 (x264 medium, GOP 250)",
    format="mp4",
    encoding=VideoEncoding("h264", preset="medium"),
    settings=(23, 28, 33, 38, 43, 48),
    largest=51,
)
VP9 = _VideoCodec(
    "vp9",
    "VP9 (libvpx, GOP 128)",
    format="webm",
    encoding=VideoEncoding("vp9"),
    settings=(24, 32, 40, 48, 56, 63),
    largest=63,
)
AV1 = _VideoCodec(
    "av1",
    "AV1 (SVT preset 6, GOP 5 s)",
    format="webm",
    encoding=VideoEncoding("av1"),
    settings=(24, 32, 40, 48, 56, 63),
    largest=63,
)
