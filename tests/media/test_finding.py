import random
from pathlib import Path

import pytest

from vqkit.errors import MediaError
from vqkit.media import (
    AUDIO_SUFFIXES,
    IMAGE_SUFFIXES,
    find_audio,
    find_images,
    walk_audio,
    walk_images,
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(folder: Path, **options) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder, **options)]


def test_images_are_found_by_their_endings_in_sorted_order(tmp_path):
    touch(
        tmp_path, "b.PNG", "a.jpg", "notes.txt", "c/d.webp", "c/e/f.tiff", "c.png", "Z.bmp", "jpg"
    )
    assert names(tmp_path) == ["Z.bmp", "a.jpg", "b.PNG", "c/d.webp", "c/e/f.tiff", "c.png"]
    assert names(tmp_path, recursive=False) == ["Z.bmp", "a.jpg", "b.PNG", "c.png"]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    touch(tmp_path, "a.png", "._a.png", ".thumbnails/a.png", ".vqkit-12.part")
    assert names(tmp_path) == ["a.png"]
    # A hidden folder that is named is meant.
    assert names(tmp_path / ".thumbnails") == ["a.png"]


def test_a_file_gives_itself_whatever_its_name(tmp_path):
    touch(tmp_path, "photo.dat")
    assert find_images(tmp_path / "photo.dat") == [tmp_path / "photo.dat"]
    assert find_images(str(tmp_path / "photo.dat")) == [tmp_path / "photo.dat"]


def test_an_empty_folder_gives_nothing_and_an_absent_one_an_error(tmp_path):
    assert find_images(tmp_path) == []
    with pytest.raises(MediaError, match=r"absent.*no such path"):
        find_images(tmp_path / "absent")


def test_links_are_followed_once(tmp_path):
    touch(tmp_path, "outside/x.png", "inside/y.png")
    folder = tmp_path / "inside"
    (folder / "circle").symlink_to(folder)
    (folder / "first").symlink_to(tmp_path / "outside")
    (folder / "second").symlink_to(tmp_path / "outside")
    (folder / "z.png").symlink_to(folder / "y.png")
    assert names(folder) == ["first/x.png", "y.png", "z.png"]


def test_the_order_does_not_depend_on_how_the_files_came_there(tmp_path):
    many = [f"{i % 7}/{i * 7919 % 3000:05d}.jpg" for i in range(3000)]
    orders = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        touch(folder, *random.Random(seed).sample(many, len(many)))
        orders.append(names(folder))
    assert orders[0] == orders[1] == sorted(set(many))
    assert len(orders[0]) > 2000


def test_a_walk_finds_the_same(tmp_path):
    touch(tmp_path, "b.png", "a/c.jpg", "a/notes.txt", ".hidden.png")
    walk = walk_images(tmp_path)
    assert iter(walk) is walk, "one after another, not all at once"
    assert sorted(walk) == find_images(tmp_path)
    assert [*walk_images(tmp_path, recursive=False)] == [tmp_path / "b.png"]
    with pytest.raises(MediaError, match="no such path"):
        next(walk_images(tmp_path / "missing"))


def test_real_folders(development_media):
    images = development_media / "images"
    assert len(find_images(images / "kodak")) == 16
    assert len(find_images(images / "flowers")) == 2100


def test_audio_is_found_by_its_endings(tmp_path):
    touch(tmp_path, "b.FLAC", "a.wav", "c/d.opus", "c/film.mp4", "photo.jpg", ".hidden.wav", "mp3")
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["a.wav", "b.FLAC", "c/d.opus", "c/film.mp4"]
    assert sorted(walk_audio(tmp_path)) == find_audio(tmp_path)
    assert find_audio(tmp_path, recursive=False) == [tmp_path / "a.wav", tmp_path / "b.FLAC"]
    assert find_audio(tmp_path / "photo.jpg") == [tmp_path / "photo.jpg"]
    with pytest.raises(MediaError, match=r"list the audio files in .*no such path"):
        find_audio(tmp_path / "absent")
    assert not AUDIO_SUFFIXES & IMAGE_SUFFIXES
