import logging

import pytest
import torch

from vqkit.data import ImageFileList, ImageFiles, ImageFolder
from vqkit.errors import ConfigError, MediaError
from vqkit.media import read_image, write_image


def first_levels(source):
    return [round((image[0, 0, 0].item() + 1) * 12.75) for image in source]


def test_a_folder_is_one_set_in_sorted_order(folder):
    (folder / "deeper").mkdir()
    (folder / "7.png").rename(folder / "deeper" / "7.png")
    source = ImageFolder(folder)
    assert first_levels(source) == [0, 1, 2, 3, 4, 5, 6, 8, 9, 7]
    assert source.name(0) == str(folder / "0.png")
    assert torch.equal(source[9], read_image(folder / "deeper" / "7.png"))
    assert len(ImageFolder(folder, recursive=False)) == 9


def test_several_folders_follow_each_other(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_image(torch.zeros(1, 5, 5), other / "grey.png")
    source = ImageFolder([other, folder])
    assert len(source) == 11
    assert source[0].shape == (3, 5, 5)
    assert ImageFolder(str(other), channels=1)[0].shape == (1, 5, 5)


def test_folders_without_images_are_errors(tmp_path):
    with pytest.raises(MediaError, match="No images in"):
        ImageFolder(tmp_path)
    with pytest.raises(MediaError, match=r"absent.*no such path"):
        ImageFolder(tmp_path / "absent")
    with pytest.raises(MediaError, match="at least one file"):
        ImageFiles([])


def test_broken_files_are_skipped_with_a_line_each(damaged_folder, caplog):
    source = ImageFolder(damaged_folder)
    with caplog.at_level(logging.WARNING):
        assert first_levels(source) == [0, 1, 4, 4, 4, 5, 6, 7, 8, 0]
        assert first_levels(source) == [0, 1, 4, 4, 4, 5, 6, 7, 8, 0]
    assert source.num_skipped == 3
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    for line, (name, reason) in zip(
        lines,
        [("2.png", "empty"), ("3.png", "cut short"), ("9.png", "something else")],
        strict=True,
    ):
        assert name in line
        assert reason in line
    names = [name.rsplit("/")[-1] for name, _ in source.items()]
    assert names == ["0.png", "1.png", "4.png", "5.png", "6.png", "7.png", "8.png"]


def test_a_file_list(folder, tmp_path):
    listing = tmp_path / "lists" / "train.txt"
    listing.parent.mkdir()
    listing.write_text(
        f"\ufeff# my photos\n../images/3.png\n\n  ../images/1.png  \n{folder / '2.png'}\n",
        encoding="utf-8",
    )
    source = ImageFileList(listing)
    assert first_levels(source) == [3, 1, 2]
    assert source.path == listing


def test_a_file_list_may_name_files_that_are_gone(folder, tmp_path, caplog):
    listing = tmp_path / "train.txt"
    listing.write_text("images/3.png\nimages/absent.png\n", encoding="utf-8")
    source = ImageFileList(listing)
    with caplog.at_level(logging.WARNING):
        assert first_levels(source) == [3, 3]
    assert "absent.png" in caplog.text
    assert "No such file" in caplog.text


def test_lists_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.txt.*No such file"):
        ImageFileList(tmp_path / "absent.txt")
    listing = tmp_path / "list.txt"
    listing.write_text("# nothing\n\n")
    with pytest.raises(MediaError, match="at least one file"):
        ImageFileList(listing)
    listing.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        ImageFileList(listing)


def test_the_cache_keeps_what_fits_and_changes_nothing(folder):
    plain = ImageFolder(folder)
    size_bytes = [image.nbytes for image in plain]
    cached = ImageFolder(folder, cache_size_bytes=size_bytes[0] + size_bytes[1] + size_bytes[2])
    expected = list(plain)
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(cached, expected, strict=True))
    kept = [cached[i] is cached[i] for i in range(10)]
    assert kept[:3] == [True] * 3
    assert sum(kept) == 3
    assert not any(plain[i] is plain[i] for i in range(10))
    (folder / "0.png").unlink()
    assert torch.equal(cached[0], expected[0])


def test_real_folders(development_media):
    images = development_media / "images"
    source = ImageFolder([images / "misc", images / "kodak"])
    assert len(source) == 9 + 16
    shapes = {tuple(image.shape) for _, image in ImageFolder(images / "kodak").items()}
    assert shapes == {(3, 512, 768), (3, 768, 512)}
    assert source[0].abs().max() <= 1
