"""A tokenizer with another codebook, and its tokens with it."""

import pytest
import torch

from tests.cli.tiny import BlockMeans, Blocks, tiny_tokenizer
from vqkit.errors import ConfigError, ModelMismatchError
from vqkit.quantizers import Factorized, Quantizer, Residual, VectorQuantizer, reindex_to_used
from vqkit.tokenizers import ImageFrontend, Tokenizer, codebook_of, map_tokens, with_codebook


def make(quantizer: Quantizer) -> Tokenizer:
    return Tokenizer(ImageFrontend(3), BlockMeans(), quantizer, Blocks(), "image/vq").eval()


@pytest.mark.parametrize("wrapped", [False, True])
def test_reindexed_tokens_decode_bit_for_bit(wrapped: bool):
    inner = VectorQuantizer(3, 64)
    old = make(Factorized(inner, dim=3) if wrapped else inner)
    old.train()(torch.rand(4, 3, 64, 64) * 2 - 1)
    old.eval()
    assert codebook_of(old) is inner
    tokens = old.encode([torch.rand(3, 20, 30) * 2 - 1])
    index_map = reindex_to_used(tokens.indices.flatten().bincount(minlength=64))
    assert index_map.new_size < 64
    codes = inner.codebook[index_map.inverse().new_of_old]
    new = with_codebook(old, codes, index_map, name="image/small", trusted=["tests"])
    mapped = map_tokens(tokens, index_map, old.fingerprint, new)
    assert (new.name, old.name) == ("image/small", "image/vq")
    assert mapped.codebook_sizes == new.quantizer.codebook_sizes == (index_map.new_size,)
    assert torch.equal(new.decode(mapped)[0], old.decode(tokens)[0])
    # The old model stays, and tokens are not mapped twice.
    assert old.quantizer.codebook_sizes == (64,)
    with pytest.raises(ModelMismatchError, match="expected those of"):
        map_tokens(mapped, index_map, old.fingerprint, new)


def test_models_without_exactly_one_codebook_are_refused():
    for tokenizer, number in ((tiny_tokenizer(), 0), (make(Residual(VectorQuantizer(3, 8), 2)), 2)):
        with pytest.raises(ConfigError, match=f"expected one learned codebook, got {number}"):
            codebook_of(tokenizer)
