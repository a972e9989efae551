"""The tokenizer: frontend, encoder, quantizer and decoder in one object."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import TextDecoder
from vqkit.quantizers import Quantizer, QuantizerOutput
from vqkit.tokenizers.build import describe
from vqkit.tokenizers.checks import check_parts, checked_items
from vqkit.tokenizers.chunking import Chunking
from vqkit.tokenizers.cutting import cutting_of
from vqkit.tokenizers.evaluating import evaluating
from vqkit.tokenizers.fingerprint import fingerprint, weights_key
from vqkit.tokenizers.frontend import Frontend
from vqkit.tokenizers.item_coding import ItemCoding
from vqkit.tokenizers.items import decode_items, decoded_pieces, encode_items, encode_rows
from vqkit.tokenizers.pieces import pieces_of
from vqkit.tokenizers.pretrained import PretrainedModel
from vqkit.tokenizers.spec import CHANNEL_AXIS, TokenizerSpec
from vqkit.tokenizers.streaming import TokenizerStream
from vqkit.tokenizers.tiling import Tiling
from vqkit.tokenizers.tokens import Tokens, TokenStream
from vqkit.tokenizers.whole_grid import WholeGrid, whole_grid

__all__ = ["Tokenizer", "TokenizerOutput"]


@dataclass(frozen=True)
class TokenizerOutput:
    """Result of a training pass.

    Attributes:
        reconstruction: Shape of the input; not clamped.
        quantizer: The quantizer's output, positions in the order of the grid.
    """

    reconstruction: Tensor
    quantizer: QuantizerOutput


@final
class Tokenizer(PretrainedModel):
    """Turns media into tokens and back.

    Args:
        frontend: The border of a modality.
        encoder: Network ``[batch, channels, *size] -> [batch, dim, *size/stride]`` with attributes
            ``in_channels``, ``dim`` and ``stride``; or to a row of tokens (:func:`whole_grid`).
        quantizer: Acts on the latents, channels last.
        decoder: The way back, with attributes ``dim``, ``out_channels``, ``stride``,
            ``last_layer``; or a ``TextDecoder``, which says what was spoken; None encodes only.
        name: Id that token files carry.
        chunking: Sounds are encoded in these chunks; None as a whole.

    Raises:
        ConfigError: The parts do not fit each other.

    >>> from vqkit.nets import FastDecoder, FastEncoder
    >>> from vqkit.quantizers import FSQ, Factorized
    >>> from vqkit.tokenizers import ImageFrontend
    >>> encoder, decoder = FastEncoder(dim=16), FastDecoder(dim=16)
    >>> quantizer = Factorized(FSQ([8, 8, 8]), dim=16)
    >>> tokenizer = Tokenizer(ImageFrontend(), encoder, quantizer, decoder)
    >>> tokens = tokenizer.encode([torch.zeros(3, 30, 45)])
    >>> tokens.indices.shape, tokenizer.decode(tokens)[0].shape
    (torch.Size([1, 4, 6, 1]), torch.Size([3, 30, 45]))
    """

    ADDED_ARGUMENTS: ClassVar[Mapping[str, Any]] = {"chunking": None}

    def __init__(
        self,
        frontend: Frontend,
        encoder: nn.Module,
        quantizer: Quantizer,
        decoder: nn.Module | None = None,
        name: str = "unnamed",
        chunking: Chunking | None = None,
    ) -> None:
        super().__init__()
        self.frontend = frontend
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.name = name
        self.chunking = chunking
        check_parts(self)
        self._fingerprint: tuple[Any, str] | None = None

    @property
    def stride(self) -> tuple[int, ...]:
        """Media samples per token along each axis."""
        stride: Sequence[int] = self.encoder.stride  # type: ignore[assignment]
        return tuple(stride)

    @property
    def config(self) -> dict[str, Any]:
        """Nested configuration that :func:`build` makes the untrained tokenizer of."""
        config: dict[str, Any] = describe(self)
        return config

    @property
    def fingerprint(self) -> str:
        """Hash of configuration and weights, 32 hex digits; follows every change of either."""
        key = (self.name, weights_key(self))
        if self._fingerprint is None or self._fingerprint[0] != key:
            self._fingerprint = (key, fingerprint(self.config, self.state_dict()))
        return self._fingerprint[1]

    @property
    def spec(self) -> TokenizerSpec:
        """Description in numbers."""
        whole = self._whole_grid
        return TokenizerSpec(
            name=self.name,
            modality=self.frontend.modality,
            channels=self.frontend.channels,
            axes=self.frontend.axes + self._further_axes,
            strides=self.stride + (1,) * len(self._further_axes),
            codebook_sizes=self.quantizer.codebook_sizes,
            fingerprint=self.fingerprint,
            latent_grid=None if whole is None else whole.latents,
            num_positions=None if whole is None else whole.num_positions,
            sample_rate_hz=self.frontend.sample_rate_hz,
            chunking=self.chunking,
            further_sizes=self.frontend.further_sizes or None,
            first_frame_alone=self.frontend.first_frame_alone,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, media: Tensor) -> TokenizerOutput:
        """Encode, quantize and decode a batch for training.

        Args:
            media: ``[batch, channels, *size]`` in [-1, 1], each side a multiple of the stride.

        Raises:
            ConfigError: The tokenizer has no decoder to media.
            ShapeError: Wrong channels or a side that the stride does not divide.
        """
        self.require_media_decoder()
        sides = media.shape[2:]
        if (
            media.ndim != 2 + len(self.stride)
            or media.shape[1] != self.frontend.channels
            or not self.frontend.are_whole(sides, self.stride)
        ):
            raise ShapeError(
                f"Tokenizer input: expected [batch, {self.frontend.channels}, *size] with sides "
                f"divisible by {self.stride}, got {list(media.shape)}. Crop to a multiple, or use "
                "encode, which pads."
            )
        if self.chunking is None or not self.chunking.normalises:
            quantized = self.quantizer(self._latents(media))
            return TokenizerOutput(self._reconstruct(quantized.quantized), quantized)
        chunk, scale = self.chunking.normalised(media)  # the networks know one level alone
        quantized = self.quantizer(self._latents(chunk))
        reconstruction = self._reconstruct(quantized.quantized) * scale[..., None]
        return TokenizerOutput(reconstruction, quantized)

    @torch.no_grad()
    def encode(
        self,
        media: Tensor | Sequence[Tensor],
        *,
        batched: bool = False,
        sample_rate_hz: int | None = None,
        frame_rate: int | Fraction | None = None,
        chunk_seconds: float | None = None,
        chunk_frames: int | None = None,
        tiling: Tiling | None = None,
    ) -> Tokens:
        """Turn media into tokens.

        Items are encoded one at a time, so that an item's tokens do not depend on its company.

        Args:
            media: A batch ``[batch, channels, *size]`` or a list of ``[channels, *size]`` of any
                sizes, in [-1, 1].
            batched: Encode items together, which is faster: sounds of similar length where the
                encoder takes lengths, pictures of equal padded size. Kernels chosen by the shape
                may move a latent by a rounding error and its token to a neighbour. On a CPU
                several threads call the networks at once, which must keep nothing of a call.
            sample_rate_hz: Rate of sounds, if it is not the model's; they are resampled.
            frame_rate: Frames per second of clips, which tokens keep; None where it is not known.
            chunk_seconds: Longer sounds are encoded in chunks of this length, in memory that does
                not grow with the sound, if the encoder can; its state goes from chunk to chunk.
                None is 2 on a CPU, whose caches hold so much, and 60 on a GPU.
            chunk_frames: The same of clips, in frames; None is 16 on a CPU and 64 on a GPU.
            tiling: How large pictures and frames are cut; None is ``Tiling()``, which takes 2
                megapixels whole. Tokens are those of the whole where the encoder looks no further
                than tiles overlap.

        Raises:
            ConfigError: A rate that the media do not have, or a length of no chunk.
            ShapeError: No item, wrong channels, values outside [-1, 1], or a size whose latents are
                not the grid of a quantizer that takes one grid alone.
        """
        if len(media) == 0:
            raise ShapeError("Tokenizer encode: expected at least one item, got none.")
        cutting = cutting_of(self, chunk_seconds, chunk_frames, tiling)
        rate = self._rate(sample_rate_hz, frame_rate)
        prepared = [
            self.frontend.prepare(item.to(self.device, torch.float32), self.stride, rate)
            for item in media
        ]
        if self._whole_grid is not None:
            spec = self.spec
            for _, size in prepared:
                spec.grid(size)
        with evaluating(self):
            coded = encode_items(self, [item for item, _ in prepared], cutting, batched)
        return self._tokens(coded, [size for _, size in prepared])

    @torch.no_grad()
    def encode_pieces(
        self,
        pieces: Iterable[Tensor],
        *,
        sample_rate_hz: int | None = None,
        frame_rate: int | Fraction | None = None,
        chunk_seconds: float | None = None,
        chunk_frames: int | None = None,
        tiling: Tiling | None = None,
    ) -> Tokens:
        """Turn one item that comes in pieces into tokens: those of :meth:`encode`, bit for bit.

        Memory does not grow with the item, but for its tokens, if the encoder can do with a part;
        how long the pieces are that come does not matter.

        Args:
            pieces: ``[channels, samples]`` of a sound, ``[channels, rows, width]`` of a picture
                from the top, ``[channels, frames, height, width]`` of a clip, in [-1, 1]; at least
                one.
            sample_rate_hz: As for :meth:`encode`.
            frame_rate: As for :meth:`encode`.
            chunk_seconds: As for :meth:`encode`.
            chunk_frames: As for :meth:`encode`.
            tiling: As for :meth:`encode`.

        Raises:
            ConfigError: A rate that the media do not have, or a length of no chunk.
            ShapeError: No piece, pieces that do not go together, or values outside [-1, 1] or not
                finite.
        """
        cutting = cutting_of(self, chunk_seconds, chunk_frames, tiling)
        prepared = pieces_of(self, pieces, self._rate(sample_rate_hz, frame_rate))
        with evaluating(self):
            coded = self.coding.encode(prepared, lambda rows: encode_rows(self, rows, cutting))
        assert prepared.size is not None, "all pieces are taken"
        return self._tokens([coded], [prepared.size])

    @torch.no_grad()
    def decode(
        self,
        tokens: Tokens,
        *,
        batched: bool = False,
        check_model: bool = True,
        chunk_seconds: float | None = None,
        chunk_frames: int | None = None,
        tiling: Tiling | None = None,
    ) -> list[Tensor]:
        """Turn tokens into media, one ``[channels, *size]`` per item in its original size.

        Args:
            tokens: What this tokenizer made; a prefix of a residual quantizer's levels will do.
                Unknown tokens (-1) add nothing to their latents.
            batched: Decode items together, as :meth:`encode` does: faster, and equal up to
                rounding.
            check_model: Refuse tokens of another tokenizer. Switch it off for a model that was cast
                or fine-tuned since, and know what you do.
            chunk_seconds: Longer sounds are decoded in chunks of this length, if the decoder can.
            chunk_frames: The same of clips, in frames.
            tiling: How large pictures and frames are cut; tiles fade into one another.

        Raises:
            ConfigError: The tokenizer has no decoder to media, or a length of no chunk.
            ModelMismatchError: The tokens are another tokenizer's.
            ShapeError: Their codebooks are not this tokenizer's.
        """
        self.require_media_decoder()
        items = checked_items(tokens, self, check_model)
        cutting = cutting_of(self, chunk_seconds, chunk_frames, tiling)
        with evaluating(self):
            outputs = decode_items(self, items, cutting, batched)
        return [
            self.frontend.restore(output, size)
            for output, size in zip(outputs, tokens.media, strict=True)
        ]

    def decode_pieces(
        self,
        tokens: Tokens,
        *,
        check_model: bool = True,
        chunk_seconds: float | None = None,
        chunk_frames: int | None = None,
        tiling: Tiling | None = None,
    ) -> Iterator[Tensor]:
        """Turn the tokens of one item into pieces as those of :meth:`encode_pieces`.

        Joined they are what :meth:`decode` gives, bit for bit. A decoder that needs the whole gives
        all of it at once.

        Raises:
            ConfigError: The tokenizer has no decoder to media, or a length of no chunk.
            ModelMismatchError: The tokens are another tokenizer's.
            ShapeError: Their codebooks are not this tokenizer's, or they are of several items.
        """
        self.require_media_decoder()
        cutting = cutting_of(self, chunk_seconds, chunk_frames, tiling)
        items = checked_items(tokens, self, check_model)
        if len(items) != 1:
            raise ShapeError(f"Decoding in pieces: expected one item, got {len(items)}.")
        outputs = decoded_pieces(self, items[0], cutting)
        pieces = self.frontend.restored_pieces(outputs, tokens.media[0])
        while True:
            # Not while the caller has the piece: the state of others is not ours to change.
            with torch.no_grad(), evaluating(self):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def stream(
        self,
        batch_size: int = 1,
        *,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
    ) -> TokenizerStream:
        """Begin a sound that is encoded, and decoded, while it comes.

        Args:
            batch_size: Sounds side by side, in step.
            sample_rate_hz: Of the samples, if it is not the model's.
            channels: Of the samples, if they are not the model's.

        Raises:
            StreamingError: A network needs the whole, or the tokenizer is not one of sounds.

        >>> from vqkit.nets import ConvStyle, SEANetDecoder, SEANetEncoder
        >>> from vqkit.quantizers import FSQ
        >>> from vqkit.tokenizers import AudioFrontend
        >>> style = ConvStyle(padding="zero")
        >>> encoder = SEANetEncoder(dim=3, num_filters=2, style=style)
        >>> decoder = SEANetDecoder(dim=3, num_filters=2, style=style)
        >>> stream = Tokenizer(AudioFrontend(), encoder, FSQ([8, 8, 8]), decoder).stream()
        >>> output = stream.push(torch.zeros(1, 1, 1000))
        >>> output.indices.shape, output.samples.shape
        (torch.Size([1, 3, 1]), torch.Size([1, 1, 960]))
        >>> stream.finish().samples.shape, stream.latency_seconds * 24_000
        (torch.Size([1, 1, 40]), 320.0)
        """
        self.require_media_decoder()
        return TokenizerStream(self, batch_size, sample_rate_hz, channels)

    @torch.no_grad()
    def transcribe(self, tokens: Tokens, *, check_model: bool = True) -> list[str]:
        """Turn tokens of speech into text, one per item, greedily; channels alone have lines.

        Args:
            tokens: What this tokenizer made.
            check_model: Refuse tokens of another tokenizer.

        Raises:
            ConfigError: The tokenizer has no decoder to text.
            ModelMismatchError: The tokens are another tokenizer's.
            ShapeError: Their codebooks are not this tokenizer's.
        """
        if not isinstance(self.decoder, TextDecoder):
            raise ConfigError(
                f"Transcribing with {self.name!r}: expected a decoder to text, got "
                f"{type(self.decoder).__name__}. A supervised speech tokenizer has one."
            )
        texts = []
        with evaluating(self):
            for item in checked_items(tokens, self, check_model):
                rows = self.coding.parted(item.indices.to(self.device))
                latent = self.quantizer.decode(rows).movedim(-1, 1) if rows.numel() else None
                texts.append("" if latent is None else "\n".join(self.decoder.transcribe(latent)))
        return texts

    def require_media_decoder(self) -> nn.Module:
        """The decoder, if it leads to media.

        Raises:
            ConfigError: There is none.
        """
        if self.decoder is None or isinstance(self.decoder, TextDecoder):
            fix = "Train a decoder on its tokens, or use another model"
            if self.decoder is not None:
                fix = "Tokenizer.transcribe gives the text of its tokens"
            raise ConfigError(
                f"Decoding with {self.name!r}: expected a decoder to {self.frontend.modality}, got "
                f"{type(self.decoder).__name__}: this tokenizer encodes only. {fix}."
            )
        return self.decoder

    @property
    def coding(self) -> ItemCoding:
        """What of an item the networks take at a time."""
        return ItemCoding(self.frontend.codes_channels_alone, self.chunking)

    def encode_whole(self, rows: Tensor) -> Tensor:
        """Indices of what the networks take as items, of one size, in one pass of the encoder."""
        if rows.numel() == 0:  # a sound of no length: networks take one sample at least
            shape = (len(rows), *[0] * len(self.stride), self.quantizer.num_codebooks)
            return torch.zeros(shape, dtype=torch.int64)
        return self.quantizer.encode(self._latents(rows))

    def decode_whole(self, indices: Tensor) -> Tensor:
        """What indices ``[rows, *grid, codebooks]`` decode to in one pass of the decoder."""
        if indices.numel() == 0:
            shape = (len(indices), self.frontend.channels, *[0] * len(self.stride))
            return torch.zeros(shape, device=self.device)
        return self._reconstruct(self.quantizer.decode(indices)).float()

    @property
    def token_axes(self) -> tuple[str, ...]:
        """Names of the axes of the indices."""
        # The indices of a whole grid, scales one after the other, lie on no axis of the media.
        if self._whole_grid is not None:
            return ("token",)
        return tuple(self.frontend.axes) + self._further_axes

    @property
    def _further_axes(self) -> tuple[str, ...]:
        return (CHANNEL_AXIS,) if self.frontend.codes_channels_alone else ()

    @property
    def _whole_grid(self) -> WholeGrid | None:
        return whole_grid(self.encoder, self.quantizer)

    def _rate(
        self, sample_rate_hz: int | None, frame_rate: int | Fraction | None
    ) -> int | Fraction | None:
        """The rate of media over time, which is of samples or of frames."""
        is_clip = self.frontend.modality == "video"
        rate, other = (frame_rate, sample_rate_hz) if is_clip else (sample_rate_hz, frame_rate)
        if other is not None:
            name = "sample_rate_hz" if is_clip else "frame_rate"
            raise ConfigError(
                f"Encoding: expected no {name} for a tokenizer of {self.frontend.modality}, got "
                f"{other}."
            )
        return rate

    def _latents(self, media: Tensor) -> Tensor:
        latent: Tensor = self.encoder(media)
        return latent.movedim(1, -1)

    def _reconstruct(self, quantized: Tensor) -> Tensor:
        decoder = self.require_media_decoder()
        reconstruction: Tensor = decoder(quantized.movedim(-1, 1).contiguous())
        return reconstruction

    def _tokens(
        self, coded: Sequence[Mapping[str, Tensor]], sizes: Sequence[Mapping[str, int]]
    ) -> Tokens:
        layouts = {
            "tokens": (self.token_axes, self.quantizer.codebook_sizes),
            **self.spec.side_streams,
        }
        maker = self.fingerprint
        items = []
        for indices, size in zip(coded, sizes, strict=True):
            streams = {
                name: TokenStream(indices[name], codebook_sizes, axes)
                for name, (axes, codebook_sizes) in layouts.items()
            }
            items.append(Tokens(streams, (size,), self.frontend.modality, self.name, maker))
        return Tokens.stack(items)
