"""What a job encodes: listing media in folders, lists and Parquet files, here or in a store."""

from vqkit.pipeline.inputs.listing import list_inputs, root_of
from vqkit.pipeline.inputs.table import Input, Inputs, request_of

__all__ = ["Input", "Inputs", "list_inputs", "request_of", "root_of"]
