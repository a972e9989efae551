"""Records and manifests: their documents, and the check of a whole data set."""

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.files.dataset.samples import (
    PHOTOS,
    SPEECH,
    random_samples,
    write_dataset,
    write_shard,
)
from vqkit.errors import ConfigError, StorageError, TokenFileError
from vqkit.files.dataset import (
    Histogram,
    Manifest,
    ShardRecord,
    record_name,
    shard_name,
    verify_dataset,
)
from vqkit.files.dataset import histogram as histogram_module
from vqkit.files.dataset.document import dump_document
from vqkit.files.storage import Storage


@pytest.fixture
def storage(tmp_path: Any) -> Storage:
    return Storage.at(tmp_path / "set")


def test_record_and_manifest_come_back_as_they_were(storage: Storage) -> None:
    write_dataset(storage, SPEECH)
    manifest = Manifest.read(storage)
    assert Manifest.from_bytes(manifest.to_bytes()).to_bytes() == manifest.to_bytes()
    assert manifest.header == SPEECH
    for shard in manifest.shards:
        record = ShardRecord.read(storage, shard.name, SPEECH)
        timed = replace(record, seconds={"read": 1.5, "encode": 0.25})
        again = ShardRecord.from_bytes(timed.to_bytes(), SPEECH)
        assert again.to_bytes() == timed.to_bytes()
        assert again.seconds == {"read": 1.5, "encode": 0.25}


def test_the_manifest_sums_up(storage: Storage) -> None:
    samples = write_dataset(storage, sizes=(20, 0, 13), tokens=(2, 3))
    manifest = Manifest.read(storage)
    good = [s for s in samples if s.tokens is not None]
    assert (manifest.num_shards, manifest.num_samples, manifest.num_failed) == (3, len(good), 4)
    assert manifest.num_tokens == 6 * len(good)
    assert manifest.size_bytes == sum(storage.size(s.name) for s in manifest.shards)
    assert manifest.failed == tuple((s.key, s.error) for s in samples if s.error)
    joined = np.concatenate([s.tokens.indices.flatten().numpy() for s in good if s.tokens])
    shares = np.unique(joined, return_counts=True)[1] / len(joined)
    (entropy,) = manifest.entropy_bits["tokens"]
    assert entropy == pytest.approx(-(shares * np.log2(shares)).sum())


def test_the_manifest_is_readable_by_others(storage: Storage) -> None:
    """Counts unpacked by what the page of the format says."""
    write_dataset(storage)
    document = json.loads(storage.read("manifest.json"))
    packed = document["histograms"]["tokens"][0]
    data = zlib.decompress(base64.b64decode(packed["packed"]))
    gaps, counts = np.frombuffer(data, "<u8").reshape(2, packed["num_codes"])
    histogram = Manifest.read(storage).histograms["tokens"][0]
    assert histogram is not None
    assert np.cumsum(gaps).tolist() == histogram.indices.tolist()
    assert counts.tolist() == histogram.counts.tolist()
    assert document["totals"]["num_tokens"] == counts.sum()
    assert document["header"]["provenance"]["plan_id"] == "plan-1"


def test_many_records_are_merged_some_at_a_time() -> None:
    records = [
        write_shard(PHOTOS, random_samples(PHOTOS, 2, n, 2 * n, tokens=(1, 2)), n, 70)[1]
        for n in range(70)
    ]
    manifest = Manifest.of(PHOTOS, reversed(records))
    total = manifest.histograms["tokens"][0]
    assert total is not None
    assert total.num_tokens == manifest.num_tokens
    parts = [record.histograms["tokens"][0] for record in records]
    assert total.same_as(Histogram.merged(parts))


def test_too_many_different_codes_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histogram_module, "MAX_DISTINCT", 100)
    samples = random_samples(PHOTOS, 4, tokens=(20, 20))
    record = write_shard(PHOTOS, samples)[1]
    assert record.histograms["tokens"] == [None]
    manifest = Manifest.from_bytes(Manifest.of(PHOTOS, [record]).to_bytes())
    assert manifest.entropy_bits == {"tokens": (None,)}


def test_shards_in_quarantine_are_named(storage: Storage) -> None:
    record = write_shard(PHOTOS, random_samples(PHOTOS, 3), 0, 2)[1]
    manifest = Manifest.of(PHOTOS, [record], {shard_name(1, 2): "killed its worker 3 times"})
    again = Manifest.from_bytes(manifest.to_bytes())
    assert again.quarantined == {"part-00001-of-00002.parquet": "killed its worker 3 times"}
    assert again.num_shards == 2


def test_a_manifest_wants_every_shard_once() -> None:
    first, second = (
        write_shard(PHOTOS, random_samples(PHOTOS, 3), number, 2)[1] for number in (0, 1)
    )
    other = replace(second, plan_id="plan-2")
    wrong: list[tuple[list[ShardRecord], dict[str, str]]] = [
        ([first], {}),
        ([first, first], {}),
        ([first, other], {}),
        ([first, second], {second.name: "why"}),
        ([first, second], {"part-00002-of-00002.parquet": "why"}),
    ]
    for records, quarantined in wrong:
        with pytest.raises(ConfigError, match="Manifest: expected"):
            Manifest.of(PHOTOS, records, quarantined)


def test_without_a_manifest_it_is_no_data_set(storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"expected a token data set with manifest.json, found"):
        Manifest.read(storage)


def changed(document: bytes, path: str, value: Any) -> bytes:
    """With another value, or without the field, and a checksum that fits."""
    content = json.loads(document)
    *parents, last = path.split("/")
    place = content
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    key = int(last) if last.isdigit() else last
    if value is KeyError:
        del place[key]
    else:
        place[key] = value
    return dump_document(content)


WRONG: list[tuple[str, Any]] = [
    ("format", "other"), ("format_version", 2), ("format_version", True), ("extra", 1),
    ("num_shards", -1), ("num_shards", 4), ("num_shards", 1e3), ("shards", {}),
    ("shards/0", []), ("shards/0/name", "../x"), ("shards/0/size_bytes", 1 << 60),
    ("shards/0/sha256", "z" * 64), ("shards/0/row_groups/0", 5000), ("shards/0/extra", 0),
    ("shards/0/num_failed", KeyError), ("shards/0/num_tokens", 7), ("totals/num_samples", 1),
    ("totals", KeyError), ("measured_entropy_bits/tokens/0", 1.0), ("measured_entropy_bits", {}),
    ("measured_entropy_bits/tokens/0", None), ("measured_entropy_bits/tokens/0", True),
    ("histograms/tokens", []), ("histograms/tokens/0", None), ("histograms/other", []),
    ("histograms/tokens/0/num_codes", 3), ("histograms/tokens/0/packed", "AAAA"),
    ("histograms/tokens/0/packed", "!"), ("histograms/tokens/0/num_codes", 1 << 40),
    ("failed/0", ["key"]), ("failed/0/1", 3), ("failed/0/0", ""), ("quarantined", [["a", "b"]]),
    ("header/format", "x"), ("header/modality", "Image"), ("header/tokenizer", "a\x1b[2J"),
    ("header/fingerprint", "0"), ("header/streams", {}), ("header/streams", {"A": 1}),
    ("header/streams/tokens/axes", ["a", "a"]), ("header/streams/tokens/codebook_sizes", []),
    ("header/streams/tokens/codebook_sizes", [0]),
    ("header/streams/tokens/codebook_sizes", [1 << 64]),
    ("header/streams/tokens/nominal_bits_per_position", 8.0), ("header/media", ["x"] * 17),
    ("header/strides", [0]), ("header/rates", {"rate_hz": 1e300}),
    ("header/special_ids", {"p": -1}),
    ("header/provenance/plan_id", "a b"), ("header/provenance/preprocessing", {"a": [1]}),
    ("header/provenance/preprocessing", {"a": 1e300}),
    ("header/provenance/preprocessing", {"A": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda x: str(x)[:50])
def test_every_field_of_a_manifest_is_checked(storage: Storage, path: str, value: Any) -> None:
    write_dataset(storage)
    document = changed(storage.read("manifest.json"), path, value)
    with pytest.raises(TokenFileError, match=r"^Cannot read the manifest: expected .*\. \S"):
        Manifest.from_bytes(document)


def test_histograms_that_nobody_writes() -> None:
    def packed(*numbers: int) -> dict[str, Any]:
        data = b"".join(number.to_bytes(8, "little") for number in numbers)
        text = base64.b64encode(zlib.compress(data)).decode()
        return {"num_codes": len(numbers) // 2, "packed": text}

    assert Histogram.parse(packed(3, 6, 1, 5), 10) is not None
    from vqkit.files.format_error import FormatError

    bomb = {"num_codes": 1, "packed": base64.b64encode(zlib.compress(bytes(1 << 24))).decode()}
    for wrong in (
        packed(3, 7, 1, 5), packed(3, 0, 1, 5), packed(3, 1, 1, 0), packed((1 << 64) - 1, 2, 1, 1),
        packed(1 << 63, 1 << 63, 1, 1), packed(3, 1, 1, 1 << 54), bomb,
    ):  # fmt: skip
        with pytest.raises(FormatError, match="expected"):
            Histogram.parse(wrong, 10)


def test_a_changed_digit_is_noticed() -> None:
    for document in (
        write_shard(PHOTOS, random_samples(PHOTOS, 9))[1].to_bytes(),
        Manifest.of(PHOTOS, [write_shard(PHOTOS, random_samples(PHOTOS, 9))[1]]).to_bytes(),
    ):
        wrong = document.replace(b'"num_shards":1', b'"num_shards":2')
        assert wrong != document
        for parse in (Manifest.from_bytes, lambda data: ShardRecord.from_bytes(data, PHOTOS)):
            with pytest.raises(TokenFileError, match="with checksum"):
                parse(wrong)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"a":1,"a":2}', b'{"a":NaN}', b"1" * 5000]
)
def test_documents_that_are_none(text: bytes) -> None:
    for parse in (Manifest.from_bytes, lambda data: ShardRecord.from_bytes(data, PHOTOS)):
        with pytest.raises(TokenFileError, match=r"Cannot read the (manifest|record): expected"):
            parse(text)


def test_every_field_of_a_record_is_checked() -> None:
    record = write_shard(PHOTOS, random_samples(PHOTOS, 9))[1].to_bytes()
    wrong: list[tuple[str, Any]] = [
        ("format", "vqkit manifest"), ("number", 1), ("num_shards", 0), ("plan_id", 3),
        ("name", "x"), ("num_rows", 8), ("row_groups", [4097]), ("seconds", {"read": -1}),
        ("seconds", {"Read": 1}), ("failed", [1]), ("histograms", {}), ("extra", 1),
        ("sha256", KeyError), ("size_bytes", "1"), ("num_tokens", 1.0),
    ]  # fmt: skip
    for path, value in wrong:
        with pytest.raises(TokenFileError, match="Cannot read the record: expected"):
            ShardRecord.from_bytes(changed(record, path, value), PHOTOS)


def test_a_record_tells_the_duration_of_sounds_and_of_nothing_else() -> None:
    samples = random_samples(SPEECH, 9)
    sizes = [s.tokens.media[0] for s in samples if s.tokens is not None]
    seconds = sum(size["samples"] / size["sample_rate_hz"] for size in sizes)
    record = write_shard(SPEECH, samples, rows_per_group=2)[1]
    assert record.media_seconds == pytest.approx(seconds)
    manifest = Manifest.from_bytes(Manifest.of(SPEECH, [record]).to_bytes())
    assert manifest.media_seconds == record.media_seconds
    data = record.to_bytes()
    for value in (KeyError, -1.0, None, "1"):
        with pytest.raises(TokenFileError, match="media_seconds"):
            ShardRecord.from_bytes(changed(data, "media_seconds", value), SPEECH)
    picture = write_shard(PHOTOS, random_samples(PHOTOS, 9))[1]
    assert picture.media_seconds is Manifest.of(PHOTOS, [picture]).media_seconds is None
    assert b"media_seconds" not in picture.to_bytes()


def test_records_of_other_shards_and_huge_ones(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(storage)
    first, second = shard_name(0, 3), shard_name(1, 3)
    storage.write(record_name(first), storage.read(record_name(second)))
    with pytest.raises(TokenFileError, match=rf"expected the record of {first}, got that of"):
        ShardRecord.read(storage, first, PHOTOS)
    from vqkit.files.dataset import record

    monkeypatch.setattr(record, "_MAX_BYTES", 10)
    with pytest.raises(TokenFileError, match="expected up to 10 bytes"):
        ShardRecord.read(storage, second, PHOTOS)


def test_a_sound_data_set_has_no_problems(storage: Storage) -> None:
    write_dataset(storage, SPEECH)
    for deep in (True, False):
        steps = iter(range(3))
        report = verify_dataset(storage, deep=deep, progress=lambda steps=steps: next(steps))
        assert report.problems == ()
        assert (report.num_shards, report.num_samples, report.num_failed) == (3, 29, 4)
        assert list(steps) == []


FIRST = "part-00000-of-00003"


def flip(name: str, place: int) -> Callable[[Storage], None]:
    def act(storage: Storage) -> None:
        data = bytearray(storage.read(name))
        data[place] ^= 1
        storage.write(name, bytes(data))

    return act


def rewrite(storage: Storage) -> None:
    """The same shard of other samples, with a record that fits, but not the manifest."""
    data, record = write_shard(PHOTOS, random_samples(PHOTOS, 20, seed=9), 0, 3, rows_per_group=6)
    storage.write(record.name, data)
    storage.write(record_name(record.name), record.to_bytes())


def other_plan(storage: Storage) -> None:
    name = f"{FIRST}.json"
    storage.write(name, changed(storage.read(name), "plan_id", "plan-2"))


def doubled_keys(storage: Storage) -> None:
    """Two shards of the same samples."""
    records = []
    for number in range(2):
        data, record = write_shard(PHOTOS, random_samples(PHOTOS, 9), number, 2)
        storage.write(record.name, data)
        storage.write(record_name(record.name), record.to_bytes())
        records.append(record)
    for name in storage.names("part-0000"):
        if "of-00003" in name:
            storage.remove(name)
    storage.write("manifest.json", Manifest.of(PHOTOS, records).to_bytes())


def wrong_counts(storage: Storage) -> None:
    """A record and a manifest that agree on histograms that are not those of the shard."""
    records = [ShardRecord.read(storage, shard_name(n, 3), PHOTOS) for n in range(3)]
    first = records[0].histograms["tokens"][0]
    assert first is not None
    counts = first.counts.copy()
    counts[:2] += [1, 0]
    records[0] = replace(records[0], histograms={"tokens": [Histogram(first.indices, counts)]})
    storage.write(record_name(records[0].name), records[0].to_bytes())
    storage.write("manifest.json", Manifest.of(PHOTOS, records).to_bytes())


DAMAGE: dict[str, tuple[Callable[[Storage], None], str]] = {
    "a flipped bit": (flip(f"{FIRST}.parquet", 300), f"{FIRST}.parquet: expected SHA-256"),
    "a missing shard": (lambda s: s.remove(f"{FIRST}.parquet"), f"{FIRST}.parquet: Cannot read"),
    "a missing record": (lambda s: s.remove(f"{FIRST}.json"), f"{FIRST}.json: Cannot look at"),
    "a damaged record": (lambda s: s.write(f"{FIRST}.json", b"{}"), f"{FIRST}.json: Cannot read"),
    "a shard too many": (
        lambda s: s.write("part-00003-of-00004.parquet", b""),
        "part-00003-of-00004.parquet: expected a file of the manifest",
    ),
    "another shard": (rewrite, f"{FIRST}.json: expected an entry"),
    "another plan": (other_plan, f"{FIRST}.json: expected plan 'plan-1', got 'plan-2'"),
    "doubled keys": (doubled_keys, "manifest.json: expected every key in one shard, got 9"),
    "wrong counts": (wrong_counts, f"{FIRST}.parquet: expected the record's histograms"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_wrong_is_named(storage: Storage, what: str) -> None:
    write_dataset(storage, tokens=(2, 2))
    damage, message = DAMAGE[what]
    damage(storage)
    problems = verify_dataset(storage).problems
    assert any(problem.startswith(message) for problem in problems), problems


def test_a_wrong_duration_is_named(storage: Storage) -> None:
    """One that record and manifest agree on."""
    write_dataset(storage, SPEECH)
    records = [ShardRecord.read(storage, shard_name(n, 3), SPEECH) for n in range(3)]
    assert records[0].media_seconds is not None
    records[0] = replace(records[0], media_seconds=records[0].media_seconds + 1)
    storage.write(record_name(records[0].name), records[0].to_bytes())
    storage.write("manifest.json", Manifest.of(SPEECH, records).to_bytes())
    (problem,) = verify_dataset(storage).problems
    assert problem.startswith(f"{FIRST}.parquet: expected seconds of media")


def test_quarantine_is_a_problem(storage: Storage) -> None:
    data, record = write_shard(PHOTOS, random_samples(PHOTOS, 3), 0, 2)
    storage.write(record.name, data)
    storage.write(record_name(record.name), record.to_bytes())
    manifest = Manifest.of(PHOTOS, [record], {shard_name(1, 2): "killed its worker"})
    storage.write("manifest.json", manifest.to_bytes())
    (problem,) = verify_dataset(storage).problems
    assert (
        problem
        == "part-00001-of-00002.parquet: expected a shard, got it in quarantine: killed its worker"
    )
