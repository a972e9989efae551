"""LPIPS against a reference built from torchvision's own VGG16 layers, on random weights."""

import copy

import pytest
import torch
from torch import Tensor, nn

from vqkit.errors import ShapeError
from vqkit.losses import LPIPS
from vqkit.losses.lpips_weights import load_weights


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    return LPIPS(backbone="random", heads="random", seed=3)


def vgg16_features() -> nn.Sequential:
    from torchvision.models import vgg16

    with torch.device("meta"):
        return vgg16().features


def reference(ours: Tensor, theirs: Tensor, seed: int) -> Tensor:
    weights = load_weights("random", "random", download=False, seed=seed)
    network = vgg16_features()
    state = {name.removeprefix("features."): w for name, w in weights.items() if "features" in name}
    network.load_state_dict(state, assign=True)
    shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1)
    ours, theirs = (ours - shift) / scale, (theirs - shift) / scale
    total = torch.zeros(len(ours))
    stage = 0
    for index, layer in enumerate(network[:30]):
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
        ours, theirs = layer(ours), layer(theirs)
        # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
        if index in (3, 8, 15, 22, 29):
            lengths = [x.square().sum(1, keepdim=True).sqrt() + 1e-10 for x in (ours, theirs)]
            difference = (ours / lengths[0] - theirs / lengths[1]) ** 2
            head = weights[f"lin{stage}.model.1.weight"].reshape(1, -1, 1, 1)
            total = total + (difference * head).sum(1).mean((1, 2))
            stage += 1
    return total


def images() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 32, 33) * 2 - 1, torch.rand(2, 3, 32, 33) * 2 - 1


def test_equals_reference_in_values_and_gradients(lpips: LPIPS):
    ours, theirs = (image.requires_grad_() for image in images())
    value, expected = lpips.distance(ours, theirs), reference(ours, theirs, seed=3)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(lpips(ours, theirs), expected.mean(), rtol=1e-5, atol=1e-6)
    for mine, other in zip(
        torch.autograd.grad(value.sum(), (ours, theirs)),
        torch.autograd.grad(expected.sum(), (ours, theirs)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_is_a_distance(lpips: LPIPS):
    ours, theirs = images()
    assert lpips.distance(ours, ours).tolist() == [0.0, 0.0]
    torch.testing.assert_close(lpips(ours, theirs), lpips(theirs, ours))
    near = lpips.distance(ours, ours + 0.05 * theirs)
    assert (near > 0).all()
    assert (near < lpips.distance(ours, theirs)).all()


def test_items_do_not_mix(lpips: LPIPS):
    ours, theirs = images()
    alone = torch.cat([lpips.distance(ours[i : i + 1], theirs[i : i + 1]) for i in (0, 1)])
    torch.testing.assert_close(lpips.distance(ours, theirs), alone)


def test_gradient_is_finite_where_all_features_are_zero():
    """The square root of a sum of squares has no gradient at 0; published ports give NaN."""
    lpips = LPIPS(backbone="random", heads="random")
    lpips._weights["features.28.bias"].fill_(-1e6)
    ours, theirs = images()
    (gradient,) = torch.autograd.grad(lpips(ours.requires_grad_(), theirs), ours)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_grey_counts_as_equal_channels(lpips: LPIPS):
    ours, theirs = (image[:, :1] for image in images())
    colour = lpips(ours.expand(-1, 3, -1, -1), theirs.expand(-1, 3, -1, -1))
    torch.testing.assert_close(lpips(ours, theirs), colour)


def test_autocast_and_half_precision_change_nothing(lpips: LPIPS):
    ours, theirs = (image.bfloat16() for image in images())
    expected = lpips(ours.float(), theirs.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lpips(ours, theirs), expected)
    assert expected.dtype == torch.float32
    halved = copy.deepcopy(lpips).to(torch.float16)
    assert torch.equal(halved(ours, theirs), expected)


def test_weights_are_no_part_of_the_model(lpips: LPIPS):
    holder = nn.ModuleDict({"perceptual": lpips})
    assert not list(holder.parameters())
    assert not list(holder.buffers())
    assert not holder.state_dict()
    holder.load_state_dict({}, strict=True)


def test_weights_follow_the_device(lpips: LPIPS):
    moved = nn.Sequential(copy.deepcopy(lpips)).to("meta")
    assert {weight.device.type for weight in moved[0]._weights.values()} == {"meta"}


def test_training_mode_changes_nothing(lpips: LPIPS):
    ours, theirs = images()
    assert torch.equal(lpips.train()(ours, theirs), lpips.eval()(ours, theirs))


def test_random_weights_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    first = LPIPS(backbone="random", heads="random", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    other = LPIPS(backbone="random", heads="random", seed=2)
    name = "features.0.weight"
    assert not torch.equal(first._weights[name], other._weights[name])


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 3, 32, 32), (1, 3, 32, 33)),
        ((1, 3, 32, 32), (2, 3, 32, 32)),
        ((1, 2, 32, 32), (1, 2, 32, 32)),
        ((1, 3, 15, 32), (1, 3, 15, 32)),
    ],
)
def test_refuses_shapes(lpips: LPIPS, shapes):
    with pytest.raises(ShapeError, match=r"1 or 3, height, width\] with sides of at least 16"):
        lpips(*(torch.zeros(shape) for shape in shapes))
