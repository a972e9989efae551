"""The audio and video formats that sound is read from, told apart by their first bytes.

FFmpeg's own detection is never used: among its formats are playlists, which would have it open
whatever files and addresses a hostile file names.
"""

from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

__all__ = [
    "AUDIO_FORMATS",
    "AUDIO_HEAD_BYTES",
    "AUDIO_SUFFIXES",
    "AudioFormat",
    "has_audio_suffix",
    "identify_audio",
    "mpeg_frame_bytes",
    "skip_id3",
]

AUDIO_HEAD_BYTES = 4096
"""So many bytes, counted from behind an ID3 tag, are enough to tell a format."""


@dataclass(frozen=True)
class AudioFormat:
    """One container and the libraries that read it.

    Attributes:
        name: in small letters, the usual ending without its dot.
        suffixes: file name endings, the usual one first.
        demuxer: FFmpeg's name of it.
        by_libsndfile: libsndfile is asked first.
    """

    name: str
    suffixes: tuple[str, ...]
    demuxer: str
    by_libsndfile: bool = False


AUDIO_FORMATS: dict[str, AudioFormat] = {
    audio_format.name: audio_format
    for audio_format in (
        AudioFormat("wav", (".wav", ".wave", ".rf64", ".bwf"), "wav", True),
        AudioFormat("flac", (".flac",), "flac", True),
        AudioFormat("ogg", (".ogg", ".oga", ".opus", ".ogv"), "ogg", True),
        AudioFormat("mp3", (".mp3",), "mp3", True),
        AudioFormat("aiff", (".aiff", ".aif", ".aifc"), "aiff", True),
        AudioFormat("au", (".au", ".snd"), "au", True),
        AudioFormat("caf", (".caf",), "caf", True),
        AudioFormat("w64", (".w64",), "w64", True),
        AudioFormat("mp4", (".m4a", ".mp4", ".m4b", ".m4v", ".mov", ".3gp"), "mov"),
        AudioFormat("matroska", (".webm", ".mkv", ".mka", ".weba"), "matroska"),
        AudioFormat("aac", (".aac",), "aac"),
        AudioFormat("avi", (".avi",), "avi"),
        AudioFormat("asf", (".wma", ".wmv", ".asf"), "asf"),
        # Not ".ts", which is TypeScript far more often.
        AudioFormat("mpegts", (".m2ts",), "mpegts"),
        AudioFormat("flv", (".flv",), "flv"),
    )
}
"""Every format that can be read, by name."""

AUDIO_SUFFIXES: frozenset[str] = frozenset(
    suffix for audio_format in AUDIO_FORMATS.values() for suffix in audio_format.suffixes
)
"""File name endings (lower case) that a folder is searched for."""

_STARTS = {
    b"fLaC": "flac",
    b"OggS": "ogg",
    b".snd": "au",
    b"caff": "caf",
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb": "w64",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"FLV\x01": "flv",
}
_RIFF_KINDS = {b"WAVE": "wav", b"AVI ": "avi"}
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_STILL_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
_MAX_TAGS = 16


def identify_audio(stream: BufferedIOBase) -> AudioFormat | None:
    """Tell the format of a seekable file; None if it is none of ours.

    Example:
        >>> import io
        >>> identify_audio(io.BytesIO(b"OggS and so on")).name
        'ogg'
    """
    begins_with_tag = skip_id3(stream) > 0
    head = stream.read(AUDIO_HEAD_BYTES)
    name = _name_of_head(head)
    # A tag goes before formats that have no header of their own, and at times before FLAC.
    if begins_with_tag and name not in ("flac", "aac"):
        name = "mp3"
    return None if name is None else AUDIO_FORMATS[name]


def skip_id3(stream: BufferedIOBase) -> int:
    """Move behind the ID3v2 tags at the start of a file, and say where that is."""
    position = 0
    for _ in range(_MAX_TAGS):
        stream.seek(position)
        header = stream.read(10)
        if len(header) < 10 or not header.startswith(b"ID3") or any(b & 0x80 for b in header[6:]):
            break
        size = sum(byte << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))
        has_footer = bool(header[5] & 0x10)
        position += 10 + size + 10 * has_footer
    stream.seek(position)
    return position


def mpeg_frame_bytes(head: bytes) -> int | None:
    """The length of the MPEG audio frame (ISO/IEC 11172-3, 2.4.1) that bytes begin with, if any.

    Example:
        >>> mpeg_frame_bytes(bytes([0xFF, 0xFB, 0x90, 0x00]))
        417
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = (head[1] >> 3) & 3, 4 - ((head[1] >> 1) & 3)
    bitrate_index, rate_index = head[2] >> 4, (head[2] >> 2) & 3
    if version == 1 or layer == 4 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    is_mpeg_1 = version == 3
    kbps = _KBPS[(is_mpeg_1, layer)][bitrate_index - 1]
    sample_rate_hz = (44100, 48000, 32000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    is_padded = (head[2] >> 1) & 1
    if layer == 1:
        return (12 * kbps * 1000 // sample_rate_hz + is_padded) * 4
    slots = 72 if layer == 3 and not is_mpeg_1 else 144
    return slots * kbps * 1000 // sample_rate_hz + is_padded


# Bit rates of index 1 to 14, by (is MPEG-1, layer).
_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBPS = {
    (True, 1): tuple(range(32, 449, 32)),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _LOW,
    (False, 3): _LOW,
}


def has_audio_suffix(path: Path) -> bool:
    """Whether the file's name ends like an audio file's, or like a video's."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def _name_of_head(head: bytes) -> str | None:
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return _RIFF_KINDS.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in _MP4_BOXES:
        return None if head[8:12] in _STILL_IMAGE_BRANDS else "mp4"
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac" if _is_followed_by(head, _adts_frame_bytes(head), 0xF0, 0xF6) else None
    if _is_followed_by(head, mpeg_frame_bytes(head), 0xE0, 0xE0):
        return "mp3"
    if _is_transport_stream(head):
        return "mpegts"
    return None


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes, or of 192 with a time before each, that begin with the same byte."""
    for first, packet_bytes in ((0, 188), (4, 192)):
        marks = head[first::packet_bytes]
        if len(marks) > 3 and marks == b"\x47" * len(marks):
            return True
    return False


def _adts_frame_bytes(head: bytes) -> int | None:
    """The length of the ADTS frame (ISO/IEC 13818-7, 6.2) that bytes begin with."""
    if len(head) < 7:
        return None
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _is_followed_by(head: bytes, frame_bytes: int | None, bits: int, mask: int) -> bool:
    """Whether another frame comes behind the first, or the head ends before it."""
    if not frame_bytes:
        return False
    following = head[frame_bytes : frame_bytes + 2]
    return len(following) < 2 or (following[0] == 0xFF and following[1] & mask == bits)
