import errno
import multiprocessing
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from vqkit.errors import ConfigError, MissingExtraError, StorageError
from vqkit.files.storage import Storage


@pytest.fixture(params=["folder", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage.at(tmp_path / "not yet here")
    if request.param == "memory":
        return Storage.at(f"memory://{uuid4().hex}/inner")
    return Storage.at(f"{request.getfixturevalue('bucket')}/pre/fix/")


def test_holds_files_by_name(storage: Storage) -> None:
    assert storage.names() == []
    assert not storage.exists("a/b.bin")
    storage.write("a/b.bin", b"one")
    storage.write("a/b.bin", b"another")
    storage.write("c", b"")
    storage.write("a.json", b"{}")
    assert storage.read("a/b.bin") == b"another"
    assert (storage.size("a/b.bin"), storage.size("c")) == (7, 0)
    assert storage.exists("a/b.bin")
    assert not storage.exists("a")
    assert storage.names() == ["a.json", "a/b.bin", "c"]
    assert storage.names("a") == ["a.json", "a/b.bin"]
    assert storage.names("a/") == ["a/b.bin"]
    storage.remove("a/b.bin")
    storage.remove("a/b.bin")
    assert storage.names() == ["a.json", "c"]


def test_opened_files_seek(storage: Storage) -> None:
    data = os.urandom(100_000)
    storage.write("a.bin", data)
    with storage.open("a.bin") as file:
        assert file.seek(-1000, os.SEEK_END) == 99_000
        assert file.read(10) == data[-1000:-990]
        file.seek(500)
        assert file.read(1) == data[500:501]


def test_the_first_writer_wins(storage: Storage) -> None:
    assert storage.create("a/b", b"first")
    assert not storage.create("a/b", b"second")
    assert storage.read("a/b") == b"first"
    storage.remove("a/b")
    assert storage.create("a/b", b"third")
    assert storage.read("a/b") == b"third"


def test_of_many_threads_one_wins(storage: Storage) -> None:
    start = threading.Barrier(8)
    wins: list[tuple[int, int]] = []

    def write(number: int) -> None:
        mine = pickle.loads(pickle.dumps(storage))
        for turn in range(5):
            start.wait(30)
            if mine.create(f"{turn}", b"%d" % number * 50_000):
                wins.append((turn, number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = dict(wins)
    assert len(wins) == len(winners) == 5
    for turn, number in winners.items():
        assert storage.read(f"{turn}") == b"%d" % number * 50_000
    assert storage.names() == [str(turn) for turn in range(5)]


def create_many(locations: list[str], number: int, start: Any, results: Any) -> None:
    storages = [Storage.at(location) for location in locations]
    for storage in storages:
        storage.exists("warm")
    start.wait(60)
    won = [[turn for turn in range(20) if s.create(f"{turn}", b"%d" % number)] for s in storages]
    results.put((number, won))


@pytest.mark.slow
def test_of_two_processes_one_wins(tmp_path: Path, bucket: str) -> None:
    places = [str(tmp_path), bucket]
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    children = [
        context.Process(target=create_many, args=(places, number, start, results))
        for number in range(2)
    ]
    for child in children:
        child.start()
    outcomes = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    for place, storage in enumerate(map(Storage.at, places)):
        assert sorted(t for _, won in outcomes for t in won[place]) == list(range(20))
        for number, won in outcomes:
            assert all(storage.read(f"{turn}") == b"%d" % number for turn in won[place])


def test_travels_and_compares_by_location(storage: Storage) -> None:
    storage.write("a", b"x")
    copy = pickle.loads(pickle.dumps(storage))
    assert copy.read("a") == b"x"
    assert copy == storage == Storage.at(storage.location)
    assert hash(copy) == hash(storage)
    assert len(pickle.dumps(storage)) < 500
    assert storage != Storage.at(f"{storage.location}2")


NAMES = [
    "",
    "/a",
    "../a",
    "a/../b",
    "a//b",
    "a/",
    ".",
    "a/./b",
    "a\\b",
    "c:",
    "a\n",
    "a\0",
    "n" * 1001,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_leave_the_root(storage: Storage, name: str) -> None:
    for act in (
        storage.read, storage.open, storage.exists, storage.size, storage.remove,
        lambda n: storage.write(n, b""), lambda n: storage.create(n, b""),
    ):  # fmt: skip
        with pytest.raises(StorageError, match=r"Wrong file name: expected a printable relative"):
            act(name)
    assert storage.names() == []


def test_what_is_missing_is_named(storage: Storage) -> None:
    for act in (storage.read, storage.size, storage.open):
        with pytest.raises(StorageError, match=r"Cannot .*/inner/gone.bin: .*Check the"):
            act("inner/gone.bin").read()  # type: ignore[attr-defined]


def test_sees_what_others_write(storage: Storage) -> None:
    """Listings are not remembered."""
    other = pickle.loads(pickle.dumps(storage))
    assert storage.names() == []
    assert not storage.exists("a")
    other.write("a", b"1")
    assert storage.exists("a")
    assert storage.names() == ["a"]
    other.write("a", b"22")
    assert (storage.size("a"), storage.read("a")) == (2, b"22")


def test_kinds_of_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for location in (str(tmp_path), f"file://{tmp_path}", tmp_path, "."):
        assert Storage.at(location).location == str(tmp_path)
    assert repr(Storage.at("memory://a")) == "Storage.at('memory://a')"
    for wrong in ("", "nosuch://a", "simplecache::s3://b", "s3://b/a?versionId=1"):
        with pytest.raises(ConfigError, match=r"^Storage.*: expected .*, got"):
            Storage.at(wrong)

    def missing(*_: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(MissingExtraError, match=r"s3://b.*Install s3fs.*pip install 'vqkit\[s3\]'"):
        Storage.at("s3://b")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.at(tmp_path)
    storage.write("a", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for act in (storage.write, storage.create):
        with pytest.raises(StorageError, match=r"Cannot write .*: No space left"):
            act("a" if act == storage.write else "b", b"new")
    assert storage.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_temporaries_of_killed_writers(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    storage.write("inner/a", b"x")
    old = tmp_path / "inner" / ".vqkit-0123456789abcdef.tmp"
    new = tmp_path / ".vqkit-fedcba9876543210.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 100, time.time() - 100))
    assert storage.names() == ["inner/a"]
    assert storage.remove_temporaries(50) == 1
    assert not old.exists()
    assert new.exists()
    assert storage.remove_temporaries(-1) == 1
    assert Storage.at("memory://none").remove_temporaries(0) == 0


def test_a_store_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a client raises, the place is named and the cause kept."""
    storage = Storage.at("memory://refusing")

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("the token\nhas expired")

    for method in ("cat_file", "pipe_file", "find", "info"):
        monkeypatch.setattr(MemoryFileSystem, method, refuse)
    for act in (
        lambda: storage.read("a"), lambda: storage.write("a", b""), lambda: storage.size("a"),
        storage.names,
    ):  # fmt: skip
        with pytest.raises(
            StorageError, match=r"memory://refusing.*the token has expired"
        ) as error:
            act()
        assert isinstance(error.value.__cause__, RuntimeError)


def test_a_broken_conditional_put_is_no_win(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the connection is not taken for a name that is taken."""
    s3fs = pytest.importorskip("s3fs")
    storage = Storage.at(bucket)

    call = s3fs.S3FileSystem._call_s3

    async def broken(self: Any, method: str, *words: Any, **settings: Any) -> Any:
        if method == "put_object":
            raise ConnectionResetError("Connection reset by peer")
        return await call(self, method, *words, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_call_s3", broken)
        with pytest.raises(StorageError, match="Connection reset"):
            storage.create("a", b"x")
        assert not storage.exists("a")
    assert storage.create("a", b"y")
