"""Folders, lists and Parquet files as inputs, here and in a store."""

import json
import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqkit.errors import ConfigError
from vqkit.pipeline import Input, Inputs, list_inputs
from vqkit.pipeline.inputs import request_of, root_of


def keys(inputs: Inputs) -> list[str]:
    return [item.key for item in inputs.items(0, len(inputs))]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_a_folder_is_searched_to_the_bottom(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPG", "a/b/c.webp", "a/notes.txt", ".hidden.png", ".dir/x.png")
    inputs = list_inputs(tmp_path)
    assert keys(inputs) == ["a/b/c.webp", "a/z.JPG", "b.png"]
    item = inputs.item(2)
    assert item.size_bytes == len("b.png")
    assert item.version == str((tmp_path / "b.png").stat().st_mtime_ns)
    assert request_of(item, inputs.root).location == str(tmp_path / "b.png")


def test_a_store_is_searched_like_a_folder() -> None:
    store = fsspec.filesystem("memory")
    for name in ("b.png", "a/z.JPG", "a/notes.txt", ".hidden/x.png"):
        store.pipe_file(f"/searched/{name}", name.encode())
    inputs = list_inputs("memory://searched/")
    assert keys(inputs) == ["a/z.JPG", "b.png"]
    request = request_of(inputs.item(1), inputs.root)
    with fsspec.open(request.location) as file:
        assert file.read() == b"b.png"
    assert request.size_bytes == 5


def test_sounds_are_found_the_same_way(tmp_path: Path) -> None:
    names = ("b.png", "a/z.FLAC", "a/b/c.mp3", "clip.mp4", "a/notes.txt", ".hidden.wav")
    touch(tmp_path, *names)
    store = fsspec.filesystem("memory")
    for name in names:
        store.pipe_file(f"/sounds/{name}", name.encode())
    for location in (tmp_path, "memory://sounds"):
        assert keys(list_inputs(location, "audio")) == ["a/b/c.mp3", "a/z.FLAC", "clip.mp4"]
        assert keys(list_inputs(location, "image")) == ["b.png"]


def test_a_list_of_paths(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.png", "in/a b.png")
    elsewhere = touch(tmp_path / "elsewhere", "c.png") / "c.png"
    path = tmp_path / "in" / "list.txt"
    path.write_text(f"b.png\n\na b.png\r\n{elsewhere}\ns3://bucket/d.png\nmissing.png\n")
    inputs = list_inputs(path)
    requests = {item.key: request_of(item, inputs.root) for item in inputs.items(0, len(inputs))}
    assert requests["a b.png"].location == str(tmp_path / "in" / "a b.png")
    assert requests["a b.png"].size_bytes == len("in/a b.png")
    assert requests[str(elsewhere)].location == str(elsewhere)
    assert requests["s3://bucket/d.png"].location == "s3://bucket/d.png"
    assert requests["s3://bucket/d.png"].size_bytes == -1
    assert requests["missing.png"].size_bytes == -1


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_lists_with_fields(tmp_path: Path, kind: str) -> None:
    rows = [
        {"key": "one", "path": "s3://b/1.png", "label": 7, "size_bytes": 100, "version": "e1"},
        {"key": "two", "path": "s3://b/2.png", "label": -1, "size_bytes": 50, "version": "e2"},
    ]
    path = tmp_path / f"list.{kind}"
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    inputs = list_inputs(path)
    assert [*inputs.items(0, 2)] == [
        Input("one", "s3://b/1.png", -1, 100, "e1", 7),
        Input("two", "s3://b/2.png", -1, 50, "e2", -1),
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["7", "-12", ""], [7, -12, None]),
        (["007", "8", "9"], ["007", "8", "9"]),
        (["cat", "8", ""], ["cat", "8", None]),
    ],
)
def test_labels_are_numbers_if_all_are(
    tmp_path: Path, labels: list[str], expected: list[int | str | None]
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path,label\n" + "".join(f"s3://b/{n},{x}\n" for n, x in enumerate(labels)))
    assert [item.label for item in list_inputs(path).items(0, 3)] == expected


def test_files_in_a_parquet_file(tmp_path: Path) -> None:
    """Bytes are not read to list them: the size is that of the row group, spread evenly."""
    rows = [bytes([number]) * (1000 if number < 10 else 10) for number in range(20)]
    path = tmp_path / "files.parquet"
    table = pa.table({"image": rows, "label": [f"c{number}" for number in range(20)]})
    pq.write_table(table, path, row_group_size=10, use_dictionary=False, compression="none")
    inputs = list_inputs(path)
    first, last = inputs.item(0), inputs.item(19)
    assert first[:3] == ("files.parquet#0000000000", "files.parquet", 0)
    assert (first.label, last.label) == ("c0", "c19")
    assert 1000 <= first.size_bytes < 1300
    assert 10 <= last.size_bytes < 60
    request = request_of(last, inputs.root, inputs.column)
    assert (request.location, request.column, request.row) == (str(path), "image", 19)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing", None, "no such file or folder"),
        ("list.txt", b"\n", "expected images, found none"),
        ("list.txt", b"a.png\na.png\n", r"expected each key once, got 'a\.png'"),
        ("list.txt", b"\xff\xfe", "cannot be listed"),
        ("list.csv", b"file\na.png\n", r"expected a heading with a column 'path', got \['file'\]"),
        ("list.csv", b"path,size_bytes\na,big\n", "expected size_bytes to be a number, got 'big'"),
        ("list.jsonl", b'{"path": "a"}\n[1]\n', "line 2: expected a JSON object"),
        ("list.jsonl", b'{"path": "a"}\n{', "line 2: expected JSON"),
        ("list.jsonl", b'{"key": "a"}', "line 1: expected a path, got None"),
        ("list.jsonl", b'{"path": "a", "label": 1.5}', "expected a label of text or a whole"),
        ("list.jsonl", b'{"path": "a", "label": 36893488147419103232}', "labels of 64 bits"),
        ("list.jsonl", b'{"path": "a", "key": "\\ud800"}', "cannot be listed"),
        ("list.jsonl", b'{"path": "a", "key": "%s"}' % (b"k" * 5000), "each key within 4000"),
        ("file.parquet", b"PAR1", "expected a Parquet file"),
        ("photo.png", b"x", "expected a folder, a list"),
    ],
)
def test_what_cannot_be_listed_says_why(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        list_inputs(tmp_path / name)


def test_a_parquet_file_without_media_names_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"text": ["a"], "path": [1]}), path)
    with pytest.raises(ConfigError, match=r"expected a column of paths .*, got text, path"):
        list_inputs(path)


def test_roots(tmp_path: Path) -> None:
    touch(tmp_path, "list.txt", "folder.csv/a.png")
    assert root_of(str(tmp_path / "list.txt")) == str(tmp_path)
    assert root_of(str(tmp_path / "folder.csv")) == str(tmp_path / "folder.csv")
    assert root_of("s3://bucket/photos/") == "s3://bucket/photos"
    assert root_of("s3://bucket/lists/all.parquet") == "s3://bucket/lists"


def test_the_digest_follows_every_field_but_not_the_root_or_the_order() -> None:
    items = [Input("a", "a.png", -1, 5, "v", 1), Input("b", "b.png", -1, 6, "w", None)]
    digest = Inputs.of("/x", items).digest()
    assert Inputs.of("/y", reversed(items)).digest() == digest
    changes: list[dict[str, object]] = [
        {"key": "c"}, {"path": "c"}, {"row": 1}, {"size_bytes": 6}, {"version": "u"}, {"label": 2},
        {"label": "1"}, {"label": None},
    ]  # fmt: skip
    others = [Inputs.of("/x", [items[0]._replace(**change), items[1]]) for change in changes]
    digests = [other.digest() for other in others]
    assert len({digest, *digests}) == 1 + len(changes)
    # Where one text ends and the next begins counts.
    assert (
        Inputs.of("", [Input("ab", "c"), Input("d", "e")]).digest()
        != Inputs.of("", [Input("a", "bc"), Input("d", "e")]).digest()
    )


@pytest.mark.skipif(os.name != "posix", reason="names of files are text there")
def test_a_name_that_is_no_text_is_listed_for_its_failure_to_be_told(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff.png")
    try:
        (tmp_path / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses the name")
    assert keys(list_inputs(tmp_path)) == [r"bad\xff.png"]
