"""Encoders, decoders and discriminators, channels first; media are in [-1, 1]."""

from vqkit.nets.fast import FastDecoder, FastEncoder
from vqkit.nets.patch_discriminator import PatchDiscriminator
from vqkit.nets.vqgan import VQGANDecoder, VQGANEncoder

__all__ = ["FastDecoder", "FastEncoder", "PatchDiscriminator", "VQGANDecoder", "VQGANEncoder"]
