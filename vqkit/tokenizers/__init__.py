"""Tokenizers: media to tokens and back."""

from vqkit.tokenizers.build import build, describe
from vqkit.tokenizers.frontend import Frontend, ImageFrontend
from vqkit.tokenizers.spec import TokenizerSpec
from vqkit.tokenizers.tokenizer import Tokenizer, TokenizerOutput
from vqkit.tokenizers.tokens import Tokens, TokenStream

__all__ = [
    "Frontend",
    "ImageFrontend",
    "TokenStream",
    "Tokenizer",
    "TokenizerOutput",
    "TokenizerSpec",
    "Tokens",
    "build",
    "describe",
]
