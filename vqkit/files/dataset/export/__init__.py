"""Token data sets in the formats of trainers of language models, and back."""

from vqkit.files.dataset.export.order import ORDERS, Delay, LevelMajor, Order, Raster, TimeMajor
from vqkit.files.dataset.export.reading import read_export
from vqkit.files.dataset.export.sidecar import EXPORT_FORMATS, Export
from vqkit.files.dataset.export.vocabulary import SEPARATORS, Sequencing, Vocabulary
from vqkit.files.dataset.export.writing import export_dataset

__all__ = [
    "EXPORT_FORMATS",
    "ORDERS",
    "SEPARATORS",
    "Delay",
    "Export",
    "LevelMajor",
    "Order",
    "Raster",
    "Sequencing",
    "TimeMajor",
    "Vocabulary",
    "export_dataset",
    "read_export",
]
