"""Public contract checks: run them on quantizers and tokenizers of your own."""

from vqkit.testing.quantizer import check_quantizer, quantizer_checks

__all__ = ["check_quantizer", "quantizer_checks"]
