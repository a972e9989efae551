"""Plans: pure, in equal parts, and guards of their folders."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ConfigError, ModelMismatchError
from vqkit.files.storage import Storage
from vqkit.pipeline import EncodingOptions, Input, Inputs, Plan, make_plan
from vqkit.pipeline.plan import PLAN_NAME, read_inputs
from vqkit.tokenizers import TokenizerSpec

SPEC = TokenizerSpec("t", "image", 3, ("height", "width"), (8, 8), (512, 512), "0" * 32)
WORK_PER_ITEM = 1 << 15


def inputs_of(sizes: list[int]) -> Inputs:
    items = (Input(f"{n:06d}", f"{n}.png", -1, size, "v", n) for n, size in enumerate(sizes))
    return Inputs.of("/photos", items)


def shards(plan: Plan) -> list[range]:
    return [range(*plan.bounds(number)) for number in range(plan.num_shards)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-1, 1 << 22), min_size=1, max_size=60),
    st.none() | st.integers(1, 1 << 23),
)
def test_every_input_is_in_one_shard_and_no_shard_is_empty(
    sizes: list[int], shard_bytes: int | None
) -> None:
    plan = make_plan(inputs_of(sizes), SPEC, EncodingOptions(shard_bytes=shard_bytes))
    assert [number for shard in shards(plan) for number in shard] == [*range(len(sizes))]
    assert all(len(shard) == plan.size(i) > 0 for i, shard in enumerate(shards(plan)))


def test_shards_are_about_equal_work() -> None:
    sizes = np.random.default_rng(0).integers(1_000, 400_000, 5000).tolist()
    plan = make_plan(inputs_of(sizes), SPEC, EncodingOptions(shard_bytes=4 << 20))
    work = [sum(sizes[n] + WORK_PER_ITEM for n in shard) for shard in shards(plan)]
    assert plan.num_shards == pytest.approx(sum(work) / (4 << 20), abs=1)
    assert max(work) - min(work) < 2 * (400_000 + WORK_PER_ITEM)


@pytest.mark.parametrize(
    ("num_inputs", "size", "num_shards"),
    [(10, 1000, 1), (2000, 1 << 20, 64), (50_000, 1 << 20, 201)],
)
def test_usual_numbers_of_shards(num_inputs: int, size: int, num_shards: int) -> None:
    """One for a handful, 64 for some gigabytes, of 256 MiB above that."""
    plan = make_plan(inputs_of([size] * num_inputs), SPEC, EncodingOptions())
    assert plan.num_shards == num_shards


def test_unknown_sizes_count_like_the_others() -> None:
    plan = make_plan(inputs_of([1 << 20, -1] * 50), SPEC, EncodingOptions(shard_bytes=10 << 20))
    assert {len(shard) for shard in shards(plan)} <= {9, 10, 11}


def test_the_identity_follows_model_options_inputs_and_not_the_place() -> None:
    inputs = inputs_of([5, 6])
    plan = make_plan(inputs, SPEC, EncodingOptions())
    moved = dataclasses.replace(inputs, root="/elsewhere")
    renamed = dataclasses.replace(SPEC, name="another")
    assert make_plan(moved, renamed, EncodingOptions()).plan_id == plan.plan_id
    others = [
        make_plan(inputs, dataclasses.replace(SPEC, fingerprint="1" * 32), EncodingOptions()),
        make_plan(inputs_of([5, 7]), SPEC, EncodingOptions()),
        *(
            make_plan(inputs, SPEC, EncodingOptions(**{name: value}))  # type: ignore[arg-type]
            for name, value in (
                ("device", "cuda"),
                ("alpha", "black"),
                ("num_codebooks", 1),
                ("batch_size", 2),
                ("shard_bytes", 10),
            )
        ),
    ]
    assert len({plan.plan_id, *(other.plan_id for other in others)}) == 8


def test_a_plan_is_stored_with_its_inputs(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    inputs = inputs_of([20_000] * 40_000)  # more than a row group
    plan = make_plan(inputs, SPEC, EncodingOptions(shard_bytes=100 << 20))
    plan.store(storage, inputs)
    plan.store(storage, inputs)  # the same again is fine
    assert Plan.read(storage) == plan
    stored = [
        item for number in range(plan.num_shards) for item in read_inputs(storage, plan, number)
    ]
    assert stored == [*inputs.items(0, len(inputs))]
    assert not [name for name in storage.names() if name.endswith(".parquet")]


@pytest.mark.parametrize(
    ("spec", "options", "sizes", "error", "message"),
    [
        (
            dataclasses.replace(SPEC, fingerprint="1" * 32), EncodingOptions(), [1, 2],
            ModelMismatchError, "expected the model 't' .0000.* got 't' .1111",
        ),
        (
            SPEC, EncodingOptions(alpha="black", batch_size=4), [1, 2],
            ConfigError, "expected alpha 'white', got 'black'; batch_size 1, got 4",
        ),
        (SPEC, EncodingOptions(), [1, 2, 3], ConfigError, "expected 2 inputs as planned, got 3"),
        (SPEC, EncodingOptions(), [1, 9], ConfigError, "not all of the same name, size and"),
    ],
)  # fmt: skip
def test_another_job_is_refused_and_told_what_differs(
    tmp_path: Path,
    spec: TokenizerSpec,
    options: EncodingOptions,
    sizes: list[int],
    error: type[Exception],
    message: str,
) -> None:
    storage = Storage.at(tmp_path)
    first = inputs_of([1, 2])
    make_plan(first, SPEC, EncodingOptions()).store(storage, first)
    other = inputs_of(sizes)
    with pytest.raises(error, match=message):
        make_plan(other, spec, options).store(storage, other)
    assert Plan.read(storage).inputs.count == 2


@pytest.mark.parametrize("name", ["part-00000-of-00001.parquet", "manifest.json"])
def test_a_data_set_without_a_plan_is_left_alone(tmp_path: Path, name: str) -> None:
    storage = Storage.at(tmp_path)
    storage.write(name, b"of somebody else")
    inputs = inputs_of([1, 2])
    with pytest.raises(ConfigError, match="got shards without"):
        make_plan(inputs, SPEC, EncodingOptions()).store(storage, inputs)
    assert storage.names() == [name]


@pytest.mark.parametrize(
    "change",
    [
        {"plan_id": "0" * 32},
        {"starts": [0, 0]},
        {"starts": [1]},
        {"starts": ["a"]},
        {"starts": []},
        {"options": {}},
        {"inputs": {}},
        {"format_version": 2},
        {"more": 1},
    ],
)
def test_a_damaged_plan_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    storage = Storage.at(tmp_path)
    inputs = inputs_of([1, 2])
    make_plan(inputs, SPEC, EncodingOptions()).store(storage, inputs)
    document = json.loads(storage.read(PLAN_NAME))
    storage.write(PLAN_NAME, json.dumps(document | change).encode())
    with pytest.raises(ConfigError, match="expected what vqkit wrote"):
        Plan.read(storage)
    for damaged in (b"", b"{", b"[]", b"[" * 100_000, b"\xff"):
        storage.write(PLAN_NAME, damaged)
        with pytest.raises(ConfigError, match="expected what vqkit wrote"):
            Plan.read(storage)
