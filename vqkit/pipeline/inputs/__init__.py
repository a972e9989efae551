"""What a job encodes: listing media in folders, lists and Parquet files, here or in a store."""

from vqkit.pipeline.inputs.listing import list_inputs
from vqkit.pipeline.inputs.table import Input, Inputs

__all__ = ["Input", "Inputs", "list_inputs"]
