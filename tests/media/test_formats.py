import pytest

from vqkit.errors import MediaError
from vqkit.media import is_image, read_image
from vqkit.media.formats import IMAGE_FORMATS, IMAGE_SUFFIXES, identify, unsupported_name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\x00\x00\x00\x00WEBP", "WEBP"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"II*\x00", "TIFF"),
        (b"MM\x00*", "TIFF"),
        (b"II+\x00", "TIFF"),
        (b"BM", "BMP"),
        (b"P6\n3 3", "PPM"),
        (b"P5#comment", "PPM"),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "AVIF"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "AVIF"),
    ],
)
def test_a_format_is_known_by_its_first_bytes(head, name):
    assert identify(head) is IMAGE_FORMATS[name]
    assert is_image(head)


@pytest.mark.parametrize(
    "head",
    [b"", b"\x89PN", b"P6x", b"RIFF\x00\x00\x00\x00WAVE", b"hello", bytes(64), b"\xff" * 64],
)
def test_what_is_no_image_is_none(head):
    assert identify(head) is None
    assert not is_image(head)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n", "JPEG 2000"),
        (b"8BPS\x00\x01", "Photoshop"),
        (b"PF\n1 1\n", "portable float map"),
    ],
)
def test_a_well_known_format_is_refused_by_its_name(head, name):
    assert unsupported_name(head) == name
    with pytest.raises(MediaError, match=f"{name} is not supported"):
        read_image(head)


def test_every_suffix_is_lower_case_and_belongs_to_one_format():
    suffixes = [suffix for entry in IMAGE_FORMATS.values() for suffix in entry.suffixes]
    assert len(suffixes) == len(set(suffixes)) == len(IMAGE_SUFFIXES)
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in suffixes)
