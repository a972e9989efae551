"""The image data sets that torchvision knows, by name."""

from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import Tensor

from vqkit.data.source import ImageSource
from vqkit.errors import ConfigError, MediaError
from vqkit.media import Alpha, tensor_from_pillow
from vqkit.shapes import Float

__all__ = ["TorchvisionImages"]


class TorchvisionImages(ImageSource):
    """The images of a data set in ``torchvision.datasets``, labels left out.

    Nothing is downloaded unless ``options`` says ``download: true``.

    Args:
        dataset: a class of ``torchvision.datasets``, e.g. ``"CIFAR10"``.
        options: its arguments, e.g. ``{"root": "data", "train": True}``.
        channels: 1 for grey, 3 for colour.
        alpha: what stands behind transparent pixels.

    Raises:
        ConfigError: there is no such data set, it does not take these options, or its files are not
            there.

    Example:
        >>> noise = TorchvisionImages("FakeData", {"size": 2, "image_size": (3, 8, 8)})
        >>> len(noise), tuple(noise[0].shape), noise.name(1)
        (2, (3, 8, 8), 'FakeData/1')
    """

    def __init__(
        self,
        dataset: str,
        options: Mapping[str, Any],
        *,
        channels: int = 3,
        alpha: Alpha = "white",
    ) -> None:
        from torchvision import datasets

        if dataset not in datasets.__all__:
            raise ConfigError(
                "torchvision data set: expected a class of torchvision.datasets, e.g. CIFAR10, "
                f"got {dataset!r}."
            )
        self.options = dict(options)
        try:
            self._images = getattr(datasets, dataset)(**self.options)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"torchvision cannot open {dataset} with {self.options}: {error} "
                "Fix the options, or let it fetch the files with download: true."
            ) from error
        self.dataset = dataset
        self.channels = channels
        self.alpha = alpha
        super().__init__(len(self._images))

    def name(self, index: int) -> str:
        """The data set's name and the image's number."""
        return f"{self.dataset}/{index}"

    def load(self, index: int) -> Float[Tensor, "channels height width"]:
        """Convert what the data set gives first of each item."""
        try:
            item = self._images[index]
        except (OSError, SyntaxError, ValueError) as error:
            raise MediaError(f"Cannot read {self.name(index)}: {error}.") from error
        image = item[0] if isinstance(item, tuple) else item
        if not isinstance(image, Image.Image):
            raise MediaError(
                f"Cannot read {self.name(index)}: expected an image, got {type(image).__name__}."
            )
        return tensor_from_pillow(image, channels=self.channels, alpha=self.alpha)
