"""Reading ahead in children that hang, crash or read nonsense, in order and in bounded memory."""

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vqkit.errors import MediaError
from vqkit.media import write_image
from vqkit.pipeline import reading
from vqkit.pipeline.reader_pool import ReaderPool
from vqkit.pipeline.reading import MediaReader, MediaRequest, ReadMedia


@dataclass(frozen=True)
class TroubledReader(MediaReader):
    """Reads numbers from names; some names are trouble."""

    def read(self, request: MediaRequest) -> ReadMedia:
        name = Path(request.location)
        if name.stem == "hangs":
            time.sleep(3600)
        if name.stem == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.stem == "crashes-once" and not name.exists():
            name.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name.stem == "leaves":
            os._exit(3)
        if name.stem == "raises":
            raise RuntimeError("line one\nline two " + "long" * 1000)
        number = 0.0 if name.stem == "crashes-once" else float(name.stem)
        return ReadMedia(torch.full((3, 2, 2), number), 1, "")


def answers(
    names: list[str], num_readers: int = 2, timeout_seconds: float = 30.0
) -> list[float | str]:
    reader = TroubledReader("image", 3)
    with ReaderPool(reader, num_readers, timeout_seconds) as pool:
        read = [*pool.read(MediaRequest(name) for name in names)]
    return [item if isinstance(item, str) else item.media.mean().item() for item in read]


@pytest.mark.parametrize("num_readers", [1, 3])
def test_items_come_in_order(num_readers: int) -> None:
    names = [str(number) for number in range(20)]
    assert answers(names, num_readers) == [float(name) for name in names]


def test_an_item_that_hangs_is_given_up_in_time() -> None:
    begin = time.monotonic()
    result = answers(["1", "hangs", "2", "3"], timeout_seconds=1.0)
    assert result == [1.0, "not read and decoded within 1 s", 2.0, 3.0]
    assert time.monotonic() - begin < 20


def test_an_item_that_kills_its_reader_is_named(tmp_path: Path) -> None:
    once = str(tmp_path / "crashes-once")
    result = answers(["1", "crashes", "2", "leaves", once, "3"])
    ended = "the process that decodes"
    assert result == [
        1.0,
        f"{ended} was ended by SIGSEGV",
        2.0,
        f"{ended} ended with exit code 3",
        0.0,  # another process read it
        3.0,
    ]


def test_reasons_are_one_line_of_bounded_length() -> None:
    (reason,) = answers(["raises"])
    assert isinstance(reason, str)
    assert reason.startswith("RuntimeError: line one line two long")
    assert len(reason) == 1000


def test_readers_wait_for_a_slow_taker_and_are_not_late_for_it() -> None:
    reader = TroubledReader("image", 3)
    with ReaderPool(reader, 2, timeout_seconds=0.5) as pool:
        items = []
        for item in pool.read(MediaRequest(str(number)) for number in range(4)):
            time.sleep(0.6)  # longer than a reader may take
            items.append(item)
    assert all(isinstance(item, ReadMedia) for item in items)


def test_leaving_in_the_middle_leaves_no_answers_for_others() -> None:
    with ReaderPool(TroubledReader("image", 3), 2, 30.0) as pool:
        some = pool.read(MediaRequest(str(number)) for number in range(10))
        next(some)
        some.close()  # type: ignore[attr-defined]
        (item,) = pool.read([MediaRequest("77")])
    assert isinstance(item, ReadMedia)
    assert item.media.mean() == 77


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    write_image(torch.zeros(3, 4, 5), path)
    return path


def test_a_file_is_read_with_its_size_and_hash(picture: Path) -> None:
    item = MediaReader("image", 1).read(
        MediaRequest(str(picture), size_bytes=picture.stat().st_size)
    )
    assert item.media.shape == (1, 4, 5)
    assert item.size_bytes == picture.stat().st_size
    assert item.sha256 == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert set(item.seconds) == {"read", "decode"}


def test_a_file_that_changed_since_the_plan_is_refused(picture: Path) -> None:
    with pytest.raises(MediaError, match=r"expected 7 bytes as planned, got \d+"):
        MediaReader("image", 3).read(MediaRequest(str(picture), size_bytes=7))


def test_rows_of_parquet_are_read_in_any_order(tmp_path: Path, picture: Path) -> None:
    """Forwards as planned, backwards in a retry; across row groups, in a structure."""
    path = tmp_path / "files.parquet"
    image = picture.read_bytes()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": image + bytes(number), "path": ""} for number in range(100)]
    rows[50] = {"bytes": None, "path": ""}
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), path, row_group_size=30)
    reader = MediaReader("image", 3)
    for row in (0, 1, 29, 30, 99, 3, 98):
        item = reader.read(MediaRequest(str(path), column="image.bytes", row=row))
        assert item.size_bytes == len(image) + row
    for row in (50, 100):
        with pytest.raises(MediaError):
            reader.read(MediaRequest(str(path), column="image.bytes", row=row))


def test_a_store_with_a_bad_moment_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, picture: Path
) -> None:
    calls = []

    def fetch(request: MediaRequest) -> bytes:
        calls.append(request)
        if len(calls) < 3:
            raise ConnectionError("reset")
        return picture.read_bytes()

    monkeypatch.setattr(reading, "_fetch", fetch)
    monkeypatch.setattr(reading, "_WAIT_SECONDS", (0.0, 0.0))
    assert MediaReader("image", 3).read(MediaRequest("s3://x")).media.shape == (3, 4, 5)
    assert len(calls) == 3


def test_a_file_that_is_not_there_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WAIT_SECONDS", (1e9,))
    with pytest.raises(FileNotFoundError):
        MediaReader("image", 3).read(MediaRequest("/no/such/file"))
