"""The tokenizer: frontend, encoder, quantizer and decoder in one object."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vqkit.errors import ConfigError, ModelMismatchError, ShapeError
from vqkit.quantizers import Quantizer, QuantizerOutput
from vqkit.tokenizers import folder, hub
from vqkit.tokenizers.build import build, describe
from vqkit.tokenizers.chunking import Chunking
from vqkit.tokenizers.fingerprint import fingerprint
from vqkit.tokenizers.frontend import Frontend
from vqkit.tokenizers.item_coding import ItemCoding, check_coding, check_side_streams
from vqkit.tokenizers.spec import CHANNEL_AXIS, TokenizerSpec
from vqkit.tokenizers.tokens import Tokens, TokenStream

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
class Tokenizer(nn.Module):
    """Turns media into tokens and back.

    Args:
        frontend: The border of a modality.
        encoder: Network ``[batch, channels, *size] -> [batch, dim, *size/stride]`` with attributes
            ``in_channels``, ``dim`` and ``stride``.
        quantizer: Acts on the latents, channels last.
        decoder: The way back, with attributes ``dim``, ``out_channels``, ``stride``,
            ``last_layer``.
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
        decoder: nn.Module,
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
        self._check_parts()
        self.folder: Path | None = None
        """Where it was loaded from: what coding its tokens may need lies there too."""
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
        state = self.state_dict()
        # Versions count in-place changes, addresses show replaced tensors: a cheap key to the hash.
        key = (
            self.name,
            tuple((name, v.data_ptr(), v._version, v.dtype) for name, v in state.items()),
        )
        if self._fingerprint is None or self._fingerprint[0] != key:
            self._fingerprint = (key, fingerprint(self.config, state))
        return self._fingerprint[1]

    @property
    def spec(self) -> TokenizerSpec:
        """Description in numbers."""
        return TokenizerSpec(
            name=self.name,
            modality=self.frontend.modality,
            channels=self.frontend.channels,
            axes=self.frontend.axes + self._further_axes,
            strides=self.stride + (1,) * len(self._further_axes),
            codebook_sizes=self.quantizer.codebook_sizes,
            fingerprint=self.fingerprint,
            latent_grid=self.quantizer.grid,
            num_positions=self._num_positions,
            sample_rate_hz=self.frontend.sample_rate_hz,
            chunking=self.chunking,
            further_sizes=self.frontend.further_sizes or None,
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
            ShapeError: Wrong channels or a side that the stride does not divide.
        """
        sides = media.shape[2:]
        if (
            media.ndim != 2 + len(self.stride)
            or media.shape[1] != self.frontend.channels
            or any(side % step for side, step in zip(sides, self.stride, strict=True))
        ):
            raise ShapeError(
                f"Tokenizer input: expected [batch, {self.frontend.channels}, *size] with sides "
                f"divisible by {self.stride}, got {list(media.shape)}. Crop to a multiple, or use "
                "encode, which pads."
            )
        quantized = self.quantizer(self._latents(media))
        return TokenizerOutput(self._reconstruct(quantized.quantized), quantized)

    @torch.no_grad()
    def encode(
        self,
        media: Tensor | Sequence[Tensor],
        *,
        batched: bool = False,
        sample_rate_hz: int | None = None,
    ) -> Tokens:
        """Turn media into tokens.

        Items are encoded one at a time, so that an item's tokens do not depend on its company.

        Args:
            media: A batch ``[batch, channels, *size]`` or a list of ``[channels, *size]`` of any
                sizes, in [-1, 1].
            batched: Encode items of equal padded size together: faster on a GPU, but kernels chosen
                by the shape may move a latent by a rounding error and its token to a neighbour.
            sample_rate_hz: Rate of sounds, if it is not the model's; they are resampled.

        Raises:
            ConfigError: A sample rate of images, or one that no sound has.
            ShapeError: No item, wrong channels, values outside [-1, 1], or a size whose latents are
                not the grid of a quantizer that takes one grid alone.
        """
        if len(media) == 0:
            raise ShapeError("Tokenizer encode: expected at least one item, got none.")
        prepared = [
            self.frontend.prepare(item.to(self.device, torch.float32), self.stride, sample_rate_hz)
            for item in media
        ]
        if self.quantizer.grid is not None:
            for _, size in prepared:
                self.spec.grid(size)
        with self._evaluating():
            if batched:
                coded = self._encode_batched([padded for padded, _ in prepared])
            else:
                coded = [self._encode_padded(padded[None]) for padded, _ in prepared]
        layouts = {"tokens": (self._axes, self.quantizer.codebook_sizes), **self.spec.side_streams}
        items = [
            Tokens(
                streams={
                    name: TokenStream(indices, sizes, axes)
                    for name, indices in streams.items()
                    for axes, sizes in [layouts[name]]
                },
                media=(size,),
                modality=self.frontend.modality,
                tokenizer=self.name,
                fingerprint=self.fingerprint,
            )
            for streams, (_, size) in zip(coded, prepared, strict=True)
        ]
        return Tokens.stack(items)

    @torch.no_grad()
    def decode(self, tokens: Tokens, *, check_model: bool = True) -> list[Tensor]:
        """Turn tokens into media, one ``[channels, *size]`` per item in its original size.

        Args:
            tokens: What this tokenizer made; a prefix of a residual quantizer's levels will do.
                Unknown tokens (-1) add nothing to their latents.
            check_model: Refuse tokens of another tokenizer. Switch it off for a model that was cast
                or fine-tuned since, and know what you do.

        Raises:
            ModelMismatchError: The tokens are another tokenizer's.
            ShapeError: Their codebooks are not this tokenizer's.
        """
        if check_model and tokens.fingerprint != self.fingerprint:
            raise ModelMismatchError(
                f"Decoding: expected tokens of {self.name!r} ({self.fingerprint}), got tokens of "
                f"{tokens.tokenizer!r} ({tokens.fingerprint}). Load that model."
            )
        spec = self.spec
        self._check_tokens(tokens, spec)
        media = []
        with self._evaluating():
            for i, size in enumerate(tokens.media):
                output = self._decode_item(tokens.item(i).to(self.device), spec)
                media.append(self.frontend.restore(output, size))
        return media

    def save_pretrained(self, save_directory: str | os.PathLike[str], card: str = "") -> None:
        """Write a model folder: ``config.json``, ``model.safetensors``, ``README.md``.

        Args:
            save_directory: Created if absent; files of a model in it are replaced.
            card: Text for the model card after its generated head.
        """
        folder.write(Path(save_directory), self.config, self.spec, self.state_dict(), card=card)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        trusted: Sequence[str] = (),
    ) -> "Tokenizer":
        """Load a model from a folder, or from the Hugging Face hub by its id.

        Args:
            pretrained_model_name_or_path: A folder, or ``organisation/name``.
            revision: Branch, tag or commit on the hub.
            cache_dir: Where downloads are kept.
            force_download: Download again.
            local_files_only: Use what is in the cache.
            token: Access token.
            trusted: Packages outside vqkit whose classes the configuration may name.

        Raises:
            ConfigError: No model there, or one that is damaged or names classes not trusted.
            MissingExtraError: A hub id without huggingface_hub installed.
        """
        path = Path(pretrained_model_name_or_path)
        if not path.is_dir():
            path = hub.download(
                str(pretrained_model_name_or_path),
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        stored = folder.read(path)
        # Shapes first, on no memory: a hostile configuration must not allocate what its weights
        # do not fill.
        with torch.device("meta"), _SkipRandom():
            folder.check_shapes(stored, _build_tokenizer(stored.config, trusted).state_dict())
        tokenizer = _build_tokenizer(stored.config, trusted)
        tokenizer.load_state_dict(stored.state, strict=True)
        if tokenizer.fingerprint != stored.spec.fingerprint:
            raise ConfigError(
                f"Model {path}: expected fingerprint {stored.spec.fingerprint}, got "
                f"{tokenizer.fingerprint}. The configuration or the weights were changed or "
                f"damaged."
            )
        tokenizer.folder = path
        return tokenizer.eval()

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload tokenizer",
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        card: str = "",
    ) -> str:
        """Upload the model folder to the Hugging Face hub; return the address of the commit.

        Raises:
            MissingExtraError: huggingface_hub is not installed.
        """
        return hub.upload(
            repo_id,
            lambda directory: self.save_pretrained(directory, card=card),
            commit_message=commit_message,
            private=private,
            token=token,
            revision=revision,
        )

    @property
    def _axes(self) -> tuple[str, ...]:
        # The indices of a whole grid, scales one after the other, lie on no axis of the media.
        if self.quantizer.grid is not None:
            return ("token",)
        return tuple(self.frontend.axes) + self._further_axes

    @property
    def _further_axes(self) -> tuple[str, ...]:
        return (CHANNEL_AXIS,) if self.frontend.codes_channels_alone else ()

    @property
    def _coding(self) -> ItemCoding:
        return ItemCoding(self.frontend.codes_channels_alone, self.chunking)

    @property
    def _num_positions(self) -> int | None:
        grid = self.quantizer.grid
        return None if grid is None else math.prod(self.quantizer.index_positions(grid))

    def _latents(self, media: Tensor) -> Tensor:
        latent: Tensor = self.encoder(media)
        return latent.movedim(1, -1)

    def _reconstruct(self, quantized: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(quantized.movedim(-1, 1).contiguous())
        return reconstruction

    def _encode_padded(self, batch: Tensor) -> dict[str, Tensor]:
        return self._coding.encode([batch], self._encode_whole)

    def _encode_whole(self, batch: Tensor) -> Tensor:
        if batch.numel() == 0:  # a sound of no length: networks take one sample at least
            grid = [0] * len(self.stride)
            num_codebooks = len(self.quantizer.codebook_sizes)
            return torch.zeros(len(batch), *grid, num_codebooks, dtype=torch.int64)
        return self.quantizer.encode(self._latents(batch))

    def _decode_item(self, item: Tokens, spec: TokenizerSpec) -> Tensor:
        streams = {name: stream.indices for name, stream in item.streams.items()}
        num_samples = spec.extents(item.media[0]).get("time", 0)
        pieces = self._coding.decode(streams, num_samples, self.stride[0], self._decode_whole)
        return torch.cat(list(pieces), dim=-1)

    def _decode_whole(self, indices: Tensor) -> Tensor:
        if indices.numel() == 0:
            shape = (len(indices), self.frontend.channels, *[0] * len(self.stride))
            return torch.zeros(shape, device=self.device)
        return self._reconstruct(self.quantizer.decode(indices)).float()

    def _encode_batched(self, items: list[Tensor]) -> list[dict[str, Tensor]]:
        coded: list[dict[str, Tensor]] = [{}] * len(items)
        by_shape: dict[torch.Size, list[int]] = {}
        for i, item in enumerate(items):
            by_shape.setdefault(item.shape, []).append(i)
        for numbers in by_shape.values():
            encoded = self._encode_padded(torch.stack([items[i] for i in numbers]))
            for place, i in enumerate(numbers):
                coded[i] = {name: indices[place : place + 1] for name, indices in encoded.items()}
        return coded

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode; on a GPU full fp32 and repeatable kernels: tokens are forever."""
        was_training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            with torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ):
                yield
        finally:
            for module in was_training:
                module.training = True

    def _check_parts(self) -> None:
        encoder, decoder = self.encoder, self.decoder
        channels = self.frontend.channels
        facts = [
            ("encoder.dim", encoder.dim, "quantizer.dim", self.quantizer.dim),
            ("quantizer.dim", self.quantizer.dim, "decoder.dim", decoder.dim),
            ("encoder.in_channels", encoder.in_channels, "frontend.channels", channels),
            ("decoder.out_channels", decoder.out_channels, "frontend.channels", channels),
            ("encoder.stride", self.stride, "decoder.stride", tuple(decoder.stride)),  # type: ignore[arg-type]
            ("strides", len(self.stride), "axes", len(self.frontend.axes)),
        ]
        if self.quantizer.grid is not None:
            num_axes = len(self.frontend.axes)
            facts.append(("quantizer.grid axes", len(self.quantizer.grid), "axes", num_axes))
        for left_name, left, right_name, right in facts:
            if left != right:
                raise ConfigError(
                    f"Tokenizer: expected {left_name} and {right_name} to be equal, got {left} and "
                    f"{right}."
                )
        check_coding(self._coding, self.frontend, self.quantizer)

    def _check_tokens(self, tokens: Tokens, spec: TokenizerSpec) -> None:
        sizes = self.quantizer.codebook_sizes
        if (
            tokens.axes != self._axes
            or tokens.codebook_sizes != sizes[: len(tokens.codebook_sizes)]
        ):
            raise ShapeError(
                f"Decoding: expected axes {self._axes} and codebooks {sizes}, got {tokens.axes} "
                f"and "
                f"{tokens.codebook_sizes}."
            )
        for i, size in enumerate(tokens.media):
            expected = spec.grid(size)
            grid = tuple(tokens.item(i).indices.shape[1:-1])
            if grid != expected:
                raise ShapeError(
                    f"Decoding: expected a grid of {expected} for media of {dict(size)}, got "
                    f"{grid}."
                )
            check_side_streams(tokens.item(i), spec)


class _SkipRandom(TorchFunctionMode):
    """Leaves initial values undrawn: they have no memory, and it would load the compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "").endswith(("normal_", "uniform_")):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _build_tokenizer(config: dict[str, Any], trusted: Sequence[str]) -> Tokenizer:
    tokenizer = build(config, trusted=trusted)
    if not isinstance(tokenizer, Tokenizer):
        raise ConfigError(f"Model: expected a Tokenizer, got {type(tokenizer).__name__}.")
    return tokenizer
