"""Where data sets lie: a folder on a disk or a prefix of an object store, under one interface."""

from vqkit.files.storage.storage import SeekableFile, Storage

__all__ = ["SeekableFile", "Storage"]
