"""The shards as other programs read them: the same grids, without vqkit."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.files.dataset.samples import SPEECH, write_dataset
from vqkit.files.dataset import Sample
from vqkit.files.storage import Storage


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[Sample]]:
    folder = tmp_path / "set"
    return folder, write_dataset(Storage.at(folder), SPEECH)


def check(rows: list[dict[str, Any]], samples: list[Sample]) -> None:
    """Grids by `codes` and `shape` alone."""
    found = {row["key"]: row for row in rows}
    assert len(found) == len(rows) == len(samples)
    for sample in samples:
        row = found[sample.key]
        assert (row["error"] or "") == sample.error
        if sample.tokens is None:
            assert row["codes"] is None
            continue
        for stream, suffix in (("tokens", ""), ("gain", "_gain"), ("speaker", "_speaker")):
            grid = np.asarray(row[f"codes{suffix}"], np.int64).reshape(
                np.asarray(row[f"shape{suffix}"], np.int64)
            )
            assert np.array_equal(grid, sample.tokens.streams[stream].indices[0].numpy())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_datasets(
    written: tuple[Path, list[Sample]], tmp_path: Path, streaming: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, samples = written
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "parquet", data_files=str(folder / "part-*.parquet"), split="train", streaming=streaming,
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert str(loaded.features["codes"]) == "List(Value('uint32'))"
    check(list(loaded), samples)


@pytest.fixture
def local_ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ray's local cluster")
@pytest.mark.filterwarnings("ignore")
def test_ray_data(written: tuple[Path, list[Sample]], local_ray: Any) -> None:
    folder, samples = written
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    check(ray.data.read_parquet(str(folder)).take_all(), samples)
