"""Public contract checks: run them on quantizers and tokenizers of your own."""

from vqkit.testing.quantizer import check_quantizer, quantizer_checks
from vqkit.testing.tokenizer import check_tokenizer, tokenizer_checks

__all__ = ["check_quantizer", "check_tokenizer", "quantizer_checks", "tokenizer_checks"]
