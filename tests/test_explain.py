import numpy as np
import pytest

import medkern
from medkern import explain, functional, models, nn


class Blob(nn.Module):
    """Two channels: the mean of x, and minus it; it looks at the left half only."""

    def __init__(self, width, rank=2):
        super().__init__()
        conv = nn.Conv2d if rank == 2 else nn.Conv3d
        self.conv = conv(1, 2, 3, padding=1, bias=False)
        kernel = np.zeros((2, 1, *[3] * rank), np.float32)
        kernel[(slice(None), 0, *[1] * rank)] = 1, -1
        self.conv.weight.copy_(kernel)
        left = np.zeros((1, 1, *[1] * (rank - 1), width), np.float32)
        left[..., : width // 2] = 1
        self.left = left

    def forward(self, x):
        return functional.mean(self.conv(x) * medkern.tensor(self.left), tuple(range(2, x.ndim)))


@pytest.fixture
def images(rng):
    return rng.uniform(0.5, 1, (2, 1, 8, 12)).astype(np.float32)


@pytest.mark.parametrize("shape", [(8, 12), (4, 5, 12)])
def test_grad_cam_follows_its_definition(rng, shape):
    images = rng.uniform(0.5, 1, (2, 1, *shape)).astype(np.float32)
    net = Blob(12, len(shape))
    heat = explain.grad_cam(net, images, net.conv, target=0)
    # d score / d A_0 is 1 / pixels on the left, so a_0 is half of that; channel 1 has no part in the score.
    expected = images[:, 0] / images[:, 0].max(axis=tuple(range(1, images.ndim - 1)), keepdims=True)
    np.testing.assert_allclose(heat, expected, rtol=1e-5)
    # Of class 1 only channel 1 counts, which is negative everywhere.
    np.testing.assert_array_equal(explain.grad_cam(net, images, net.conv, target=1), 0)


def test_saliency_is_the_gradient(images):
    net = Blob(12)
    for heat in (
        explain.saliency(net, images, 1),
        explain.smooth_grad(net, images, [0, 1], samples=3),
        explain.saliency(net, images, lambda y: y[:, 0] - y[:, 1]),
    ):
        np.testing.assert_allclose(heat[:, :, :6], 1, rtol=1e-5)
        np.testing.assert_array_equal(heat[:, :, 6:], 0)


def test_occlusion_measures_the_fall(images):
    net = Blob(12)
    heat = explain.occlusion(net, images, patch=(4, 3), stride=(4, 3))
    blocks = images[:, 0].reshape(2, 2, 4, 4, 3)
    fall = blocks.sum(axis=(2, 4), keepdims=True) / 96
    fall[:, :, :, 2:] = 0
    np.testing.assert_allclose(heat, np.broadcast_to(fall, blocks.shape).reshape(heat.shape), atol=1e-6)
    # Patches that overlap, and that reach past the edge, cover every pixel.
    constant = explain.occlusion(net, np.ones((1, 1, 8, 12), np.float32), 0, patch=5, stride=3)
    assert (constant[:, :, :4] > 0).all()


@pytest.mark.parametrize("rank", [2, 3])
def test_a_segmentation_in_two_and_three_dimensions(rng, rank):
    medkern.random.manual_seed(0)
    net = models.UNet(1, 2, spatial_dims=rank, filters=(3, 5), norm="batch", activation=None)
    x = rng.normal(size=(2, 1, 8, 8, 8)[: rank + 2]).astype(np.float32)
    for heat in (
        explain.grad_cam(net, x, net.down[1], target=1),
        explain.saliency(net, x, target=1),
        explain.smooth_grad(net, x, samples=2),
        explain.occlusion(net, x, patch=4),
    ):
        assert heat.shape == (2, *x.shape[2:]) and heat.dtype == np.float32 and np.isfinite(heat).all()
    assert net.training and net.down[0].norm1.num_batches_tracked.item() == 0


def test_the_same_noise_every_time(images):
    net = models.CNN((8, 12), classes=3)
    one, other = (explain.smooth_grad(net, images, samples=2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_bad_arguments_are_named(images):
    net = models.CNN((8, 12), classes=3)
    net.eval()
    with pytest.raises(ValueError, match=r"saliency: x must have shape \(N, C, H, W\) or"):
        explain.saliency(net, images[0])
    with pytest.raises(ValueError, match="saliency: target must be from 0 to 2, got 3"):
        explain.saliency(net, images, 3)
    with pytest.raises(ValueError, match="grad_cam: layer must be called once by the model, was 0 times"):
        explain.grad_cam(net, images, nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="grad_cam: layer must give 4 axes, like x, got"):
        explain.grad_cam(net, images, net.classifier[1])
    with pytest.raises(ValueError, match="smooth_grad: needs samples >= 1 and noise >= 0, got 0"):
        explain.smooth_grad(net, images, samples=0)
    with pytest.raises(ValueError, match=r"occlusion: patch must be a positive int or 2 of them, got \(3,\)"):
        explain.occlusion(net, images, patch=(3,))
    with pytest.raises(ValueError, match="target must give one number per sample"):
        explain.saliency(net, images, functional.sum)
    assert not net.training
    assert "forward" not in vars(net.classifier[1])
