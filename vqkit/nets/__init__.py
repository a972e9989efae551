"""Encoders, decoders and discriminators, channels first; media are in [-1, 1]."""

from vqkit.nets.causal_transformer import CausalTransformer
from vqkit.nets.dac import DACDecoder, DACEncoder, Snake
from vqkit.nets.fast import FastDecoder, FastEncoder
from vqkit.nets.istft import ISTFTHead
from vqkit.nets.mimi import MimiDecoder, MimiEncoder
from vqkit.nets.padded_conv import ConvStyle, PaddedConv, PaddedTransposedConv
from vqkit.nets.patch_discriminator import PatchDiscriminator
from vqkit.nets.seanet import SEANetDecoder, SEANetEncoder
from vqkit.nets.vocos import VocosDecoder
from vqkit.nets.vqgan import VQGANDecoder, VQGANEncoder

__all__ = [
    "CausalTransformer",
    "ConvStyle",
    "DACDecoder",
    "DACEncoder",
    "FastDecoder",
    "FastEncoder",
    "ISTFTHead",
    "MimiDecoder",
    "MimiEncoder",
    "PaddedConv",
    "PaddedTransposedConv",
    "PatchDiscriminator",
    "SEANetDecoder",
    "SEANetEncoder",
    "Snake",
    "VQGANDecoder",
    "VQGANEncoder",
    "VocosDecoder",
]
