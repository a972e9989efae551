"""Encoders, decoders and discriminators, channels first; media are in [-1, 1]."""

from vqkit.nets.causal_transformer import CausalTransformer
from vqkit.nets.dac import DACDecoder, DACEncoder, Snake
from vqkit.nets.discriminator import (
    DiscriminatorEnsemble,
    DiscriminatorOutput,
    FrozenDiscriminator,
    PeakNormalisation,
)
from vqkit.nets.fast import FastDecoder, FastEncoder
from vqkit.nets.istft import ISTFTHead
from vqkit.nets.mimi import MimiDecoder, MimiEncoder, mimi_decoder, mimi_encoder
from vqkit.nets.padded_conv import ConvStyle, PaddedConv, PaddedTransposedConv
from vqkit.nets.patch_discriminator import PatchDiscriminator
from vqkit.nets.seanet import SEANetDecoder, SEANetEncoder
from vqkit.nets.stft_discriminators import (
    MultiBandSTFTDiscriminator,
    MultiResolutionDiscriminator,
    MultiScaleSTFTDiscriminator,
)
from vqkit.nets.vocos import VocosDecoder
from vqkit.nets.vqgan import VQGANDecoder, VQGANEncoder
from vqkit.nets.waveform_discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator

__all__ = [
    "CausalTransformer",
    "ConvStyle",
    "DACDecoder",
    "DACEncoder",
    "DiscriminatorEnsemble",
    "DiscriminatorOutput",
    "FastDecoder",
    "FastEncoder",
    "FrozenDiscriminator",
    "ISTFTHead",
    "MimiDecoder",
    "MimiEncoder",
    "MultiBandSTFTDiscriminator",
    "MultiPeriodDiscriminator",
    "MultiResolutionDiscriminator",
    "MultiScaleDiscriminator",
    "MultiScaleSTFTDiscriminator",
    "PaddedConv",
    "PaddedTransposedConv",
    "PatchDiscriminator",
    "PeakNormalisation",
    "SEANetDecoder",
    "SEANetEncoder",
    "Snake",
    "VQGANDecoder",
    "VQGANEncoder",
    "VocosDecoder",
    "mimi_decoder",
    "mimi_encoder",
]
