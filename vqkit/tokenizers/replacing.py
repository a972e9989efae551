"""Another part in a tokenizer: a codebook, and its tokens with it, or the border of its media."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError, ModelMismatchError
from vqkit.quantizers import IndexMap, VectorQuantizer, replace_codebook
from vqkit.tokenizers.build import build
from vqkit.tokenizers.frontend import Frontend
from vqkit.tokenizers.tokenizer import Tokenizer
from vqkit.tokenizers.tokens import Tokens

__all__ = ["codebook_of", "map_tokens", "with_codebook", "with_frontend"]


def codebook_of(tokenizer: Tokenizer) -> VectorQuantizer:
    """The layer that holds the tokenizer's only learned codebook.

    Raises:
        ConfigError: There is none, or several.
    """
    return _only_codebook(tokenizer)[1]


def with_codebook(
    tokenizer: Tokenizer,
    codebook: Tensor,
    index_map: IndexMap,
    *,
    name: str | None = None,
    trusted: Sequence[str] = (),
) -> Tokenizer:
    """A tokenizer like this one with another codebook; its networks are the same.

    Args:
        tokenizer: Stays as it is.
        codebook: New codes ``[codes, dim]``, in the space of :func:`codebook_of`.
        index_map: The way from the old codes to the new ones.
        name: Id of the new model; by default that of the old one.
        trusted: Packages outside vqkit whose classes it is made of.

    Raises:
        ConfigError: Not exactly one learned codebook, or a map of other codebooks.
    """
    path, old = _only_codebook(tokenizer)
    new = replace_codebook(old, codebook, index_map)
    config = tokenizer.config
    node: Any = config
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, dict) or "codebook_size" not in node:
        raise ConfigError(
            f"Replacing the codebook of {tokenizer.name!r}: expected its configuration to name "
            f"{path!r}, found nothing there."
        )
    node["codebook_size"] = new.codebook_size
    config["name"] = tokenizer.name if name is None else name
    changed: Tokenizer = build(config, trusted=trusted)
    state = tokenizer.state_dict()
    state.update({f"{path}.{key}": value for key, value in new.state_dict().items()})
    changed.load_state_dict(state, strict=True)
    return changed.to(tokenizer.device).train(tokenizer.training)


def with_frontend(tokenizer: Tokenizer, frontend: Frontend) -> Tokenizer:
    """A tokenizer of the same networks with another border: a policy for channels, a level.

    It is another model, with a fingerprint of its own. The networks are shared, not copied.

    Raises:
        ConfigError: The frontend does not fit the networks.

    >>> from vqkit.nets import SEANetDecoder, SEANetEncoder
    >>> from vqkit.quantizers import FSQ
    >>> from vqkit.tokenizers import AudioFrontend, SplitChannels
    >>> sizes = {"dim": 2, "num_filters": 2}
    >>> mono = Tokenizer(
    ...     AudioFrontend(), SEANetEncoder(**sizes), FSQ([5, 5]), SEANetDecoder(**sizes)
    ... )
    >>> with_frontend(mono, AudioFrontend(channel_policy=SplitChannels())).spec.axes
    ('time', 'channel')
    """
    changed = Tokenizer(
        frontend,
        tokenizer.encoder,
        tokenizer.quantizer,
        tokenizer.decoder,
        name=tokenizer.name,
        chunking=tokenizer.chunking,
    )
    return changed.train(tokenizer.training)


def map_tokens(tokens: Tokens, index_map: IndexMap, old: str, new: Tokenizer) -> Tokens:
    """Tokens of the model before as tokens of the model with the new codebook.

    Args:
        tokens: With a single codebook.
        index_map: The way from the old codes to the new ones.
        old: Fingerprint of the model before.
        new: The model with the new codebook.

    Raises:
        ModelMismatchError: The tokens are another model's, or of other codebooks than the map.
        ShapeError: A token whose code was dropped.
    """
    sizes = ((index_map.old_size,), (index_map.new_size,))
    found = (tokens.codebook_sizes, new.quantizer.codebook_sizes)
    if tokens.fingerprint != old or sizes != found:
        raise ModelMismatchError(
            f"Mapping tokens: expected those of {old} with codebooks {sizes[0]}, for a model with "
            f"{sizes[1]}, got {tokens.fingerprint} with {found[0]}, for {found[1]}. Use the index "
            "map that was written with the new model."
        )
    stream = tokens.streams["tokens"]
    mapped = replace(
        stream, indices=index_map(stream.indices), codebook_sizes=new.quantizer.codebook_sizes
    )
    return replace(
        tokens,
        streams={**tokens.streams, "tokens": mapped},
        tokenizer=new.name,
        fingerprint=new.fingerprint,
    )


def _only_codebook(tokenizer: Tokenizer) -> tuple[str, VectorQuantizer]:
    found = [
        (f"quantizer.{path}" if path else "quantizer", module)
        for path, module in tokenizer.quantizer.named_modules()
        if isinstance(module, VectorQuantizer)
    ]
    if len(found) != 1:
        raise ConfigError(
            f"The codebook of {tokenizer.name!r}: expected one learned codebook, got {len(found)} "
            f"in its {type(tokenizer.quantizer).__name__}. Export its table instead."
        )
    return found[0]
