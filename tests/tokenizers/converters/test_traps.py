"""Mistakes in reading published codecs, each as a regression test that names it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.tokenizers.converters import originals, peers
from vqkit.errors import ConfigError
from vqkit.nets import DACDecoder, DACEncoder
from vqkit.quantizers import FSQ, Factorized
from vqkit.tokenizers import AudioFrontend, Tokenizer
from vqkit.tokenizers.converters import encodec_from_original, encodec_to_original
from vqkit.tokenizers.converters.state import fold_weight_norm, split_weight_norm


@pytest.mark.parametrize("whole_strides", [False, True])
@pytest.mark.parametrize("samples", [1, 14, 15, 16, 100])
def test_trap_33_sounds_keep_their_length_over_odd_strides(whole_strides, samples):
    """A frame of strides 3 and 5 decodes to 10 samples of 15 in the published decoder."""
    torch.manual_seed(0)
    decoder = DACDecoder(1, 4, 8, (3, 5), whole_strides=whole_strides)
    encoder = DACEncoder(1, 4, 2, (3, 5))
    tokenizer = Tokenizer(AudioFrontend(8000), encoder, Factorized(FSQ([5, 5]), 4), decoder)
    tokens = tokenizer.encode(torch.rand(1, 1, samples) - 0.5)
    assert tokens.indices.shape[1] == -(-samples // 15)
    assert tokenizer.decode(tokens)[0].shape == (1, samples)
    with torch.no_grad():
        sound = decoder(torch.randn(1, 4, 3))
    assert sound.shape[-1] == 45
    # What the published transposed convolutions leave out is silence here, and nothing else is.
    num_given = 45 if whole_strides else ((3 * 5 - 1) * 3) - 1
    assert sound[..., :num_given].abs().min() > 0
    assert not sound[..., num_given:].any()


@pytest.mark.parametrize("shape", [(6, 4, 10), (4, 6, 10)])
def test_trap_34_weight_norm_of_transposed_convolutions_is_per_input_channel(shape):
    """The first axis of their weight is the input: taken for the output, it gives noise."""
    conv = nn.ConvTranspose1d(shape[0], shape[1], shape[2], stride=5)
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(conv)
    conv.weight_g.data.mul_(torch.rand(shape[0], 1, 1) + 0.5)
    x = torch.randn(1, shape[0], 7)
    expected = conv(x)
    state = conv.state_dict()
    assert state["weight_g"].shape == (shape[0], 1, 1)
    folded = fold_weight_norm({f"c.{name}": value for name, value in state.items()})
    ours = F.conv_transpose1d(x, folded["c.weight"], folded["c.bias"], stride=5)
    torch.testing.assert_close(ours, expected)
    again = fold_weight_norm(split_weight_norm(folded, ["c"]))
    torch.testing.assert_close(again["c.weight"], folded["c.weight"])


def test_trap_35_a_converted_codebook_is_initialised_for_good(tmp_path):
    """With its flag lost, the first batch of a fine-tuning replaces all codes by k-means."""
    state = originals.encodec(peers.encodec())
    tokenizer = encodec_from_original(state)
    tokenizer.save_pretrained(tmp_path)
    for model in (tokenizer, Tokenizer.from_pretrained(tmp_path)):
        assert model.quantizer.initialized
        before = [level.codebook.clone() for level in model.quantizer.levels]
        model.train()(torch.rand(2, 1, 640) - 0.5)
        for level, codes in zip(model.quantizer.levels, before, strict=True):
            # A moving average moves the codes that the four frames chose, k-means moves all.
            changes = (level.codebook - codes).norm(dim=1) / codes.norm(dim=1)
            assert (changes > 1e-4).sum() <= 4
    written = encodec_to_original(tokenizer)
    flags = {name: value for name, value in written.items() if name.endswith(".inited")}
    assert len(flags) == len(tokenizer.quantizer.levels)
    assert all(value.item() == 1 for value in flags.values())
    with pytest.raises(ConfigError, match="inited"):
        encodec_from_original(state | {name: torch.zeros(1) for name in flags})
