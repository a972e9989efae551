"""Token data sets: Parquet shards and a manifest, described in ``docs/datasets.md``."""

from vqkit.files.dataset.header import DatasetHeader, Provenance, StreamLayout
from vqkit.files.dataset.histogram import Histogram
from vqkit.files.dataset.items import collate_items
from vqkit.files.dataset.loader import TokenLoader
from vqkit.files.dataset.manifest import MANIFEST_NAME, Manifest, ShardEntry
from vqkit.files.dataset.map_style import TokenDataset
from vqkit.files.dataset.reader import ShardReader, read_shard
from vqkit.files.dataset.record import ShardRecord, record_name
from vqkit.files.dataset.sample import Sample
from vqkit.files.dataset.shard import shard_name
from vqkit.files.dataset.stream import TokenIterableDataset
from vqkit.files.dataset.verify import DatasetReport, verify_dataset
from vqkit.files.dataset.writer import ShardWriter

__all__ = [
    "MANIFEST_NAME",
    "DatasetHeader",
    "DatasetReport",
    "Histogram",
    "Manifest",
    "Provenance",
    "Sample",
    "ShardEntry",
    "ShardReader",
    "ShardRecord",
    "ShardWriter",
    "StreamLayout",
    "TokenDataset",
    "TokenIterableDataset",
    "TokenLoader",
    "collate_items",
    "read_shard",
    "record_name",
    "shard_name",
    "verify_dataset",
]
