"""Encoders, decoders and discriminators, channels first; media are in [-1, 1]."""

from vqkit.nets.discriminator import (
    DiscriminatorEnsemble,
    DiscriminatorOutput,
    PeakNormalisation,
)
from vqkit.nets.fast import FastDecoder, FastEncoder
from vqkit.nets.patch_discriminator import PatchDiscriminator
from vqkit.nets.stft_discriminators import (
    MultiBandSTFTDiscriminator,
    MultiResolutionDiscriminator,
    MultiScaleSTFTDiscriminator,
)
from vqkit.nets.vqgan import VQGANDecoder, VQGANEncoder
from vqkit.nets.waveform_discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator

__all__ = [
    "DiscriminatorEnsemble",
    "DiscriminatorOutput",
    "FastDecoder",
    "FastEncoder",
    "MultiBandSTFTDiscriminator",
    "MultiPeriodDiscriminator",
    "MultiResolutionDiscriminator",
    "MultiScaleDiscriminator",
    "MultiScaleSTFTDiscriminator",
    "PatchDiscriminator",
    "PeakNormalisation",
    "VQGANDecoder",
    "VQGANEncoder",
]
