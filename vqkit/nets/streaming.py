"""From a network to its stream."""

from collections.abc import Callable

from torch import nn

from vqkit.errors import StreamingError
from vqkit.nets.conv_stream import ConvStream, TransposedConvStream
from vqkit.nets.stream import ChainStream, PointwiseStream, Stream

__all__ = ["open_stream"]

_POINTWISE = (nn.Identity, nn.ELU, nn.GELU, nn.ReLU, nn.SiLU, nn.Tanh)


def open_stream(module: nn.Module) -> Stream:
    """Begin a signal in a network: one of :mod:`vqkit.nets`, or of its layers.

    A module of your own takes part with a method ``stream() -> Stream``.

    Raises:
        StreamingError: A layer needs the whole signal: a norm over time, attention to all frames.

    Example:
        >>> from vqkit.nets import SEANetEncoder
        >>> encoder = SEANetEncoder(num_filters=2, dim=4, strides=[2, 2]).eval()
        >>> import torch
        >>> x = torch.randn(1, 1, 400)
        >>> with torch.no_grad():
        ...     stream = open_stream(encoder)
        ...     parts = [stream.push(x[..., :150]), stream.push(x[..., 150:]), stream.finish()]
        ...     torch.allclose(torch.cat(parts, dim=-1), encoder(x), atol=1e-6)
        True
    """
    own: Callable[[], Stream] | None = getattr(module, "stream", None)
    if own is not None:
        return own()
    if isinstance(module, nn.Sequential):
        return ChainStream([open_stream(layer) for layer in module])
    if isinstance(module, _POINTWISE):
        return PointwiseStream(module)
    if isinstance(module, nn.Conv1d):
        padding = int(module.padding[0])
        return ConvStream(module, padding, padding, "zero")
    if isinstance(module, nn.ConvTranspose1d):
        left = int(module.padding[0])
        right = left - int(module.output_padding[0])
        return TransposedConvStream(
            module.weight, module.bias, module.stride[0], left, right, module.groups
        )
    raise StreamingError(
        f"Streaming: expected layers that do with a part of the signal, got "
        f"{type(module).__name__}, which is not known to. Encode and decode whole signals."
    )
