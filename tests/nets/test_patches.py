import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from vqkit.nets.patches import Patchify, Unpatchify


def reference(image: Tensor, patch: int) -> Tensor:
    """The library's cosine transform, patch by patch, over a size that falls with frequency."""
    channels, height, width = image.shape
    rows, columns = height // patch, width // patch
    result = torch.empty(channels * patch**2, rows, columns)
    for row in range(rows):
        for column in range(columns):
            block = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            coefficients = dctn(block.double().numpy(), norm="ortho")
            for index, (a, i, j) in enumerate(
                torch.cartesian_prod(*map(torch.arange, block.shape))
            ):
                size = (channels * patch**2) ** 0.5 / 2 / (1 + (a**2 + i**2 + j**2).sqrt().item())
                result[index, row, column] = coefficients[a, i, j] / size
    return result


@pytest.mark.parametrize(("channels", "patch"), [(3, 4), (1, 2), (2, 1)])
def test_equals_the_librarys_transform(channels: int, patch: int):
    images = torch.randn(2, channels, 2 * patch, 3 * patch)
    expected = torch.stack([reference(image, patch) for image in images])
    torch.testing.assert_close(Patchify(channels, patch)(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "patch"), [(3, 4), (1, 8), (5, 2)])
def test_restores_the_image(channels: int, patch: int):
    images = torch.randn(2, channels, 3 * patch, 2 * patch)
    restored = Unpatchify(channels, patch)(Patchify(channels, patch)(images))
    torch.testing.assert_close(restored, images, rtol=1e-5, atol=1e-5)


def test_a_flat_patch_has_one_feature():
    features = Patchify(3, 4)(torch.full((1, 3, 4, 4), 0.5)).flatten()
    assert features[0].item() == pytest.approx(1.0, rel=1e-5)
    assert features[1:].abs().max() < 1e-6


def test_it_holds_nothing_to_learn_or_to_store():
    patchify = Patchify(3, 4)
    assert not patchify.state_dict()
    assert not list(patchify.parameters())
