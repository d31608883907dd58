import numpy as np
import pytest

import medkern
from medkern import functional, models


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_fields_begin_near_0_and_warp_the_moving_image(rng, dims, half):
    net = models.Registration(2, spatial_dims=dims, filters=(4, 8), half=half)
    x = rng.random((2, 4, *(8, 12, 4)[:dims])).astype(np.float32)
    y = net(medkern.tensor(x)).numpy()
    assert y.shape == (2, 2 + dims, *x.shape[2:])
    assert 0 < np.abs(y[:, 2:]).max() < 1
    warped = functional.warp(medkern.tensor(x[:, :2]), medkern.tensor(np.ascontiguousarray(y[:, 2:])))
    np.testing.assert_allclose(y[:, :2], warped.numpy(), atol=1e-5)
    again = models.build(models.config(net))
    assert again.config == net.config


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 7)])
def test_warp_reads_at_o_plus_field(rng, shape):
    x = rng.standard_normal((1, 2, *shape))
    steps = rng.integers(-2, 3, len(shape))
    field = np.broadcast_to(steps.reshape(1, -1, *[1] * len(shape)), (1, len(shape), *shape)).astype(float)
    y = functional.warp(medkern.tensor(x), medkern.tensor(field.copy())).numpy()
    at = [np.clip(np.arange(n) + s, 0, n - 1) for n, s in zip(shape, steps, strict=True)]
    np.testing.assert_allclose(y, x[np.ix_([0], [0, 1], *at)], atol=1e-12)
    with pytest.raises(ValueError, match="field must have shape"):
        functional.warp(medkern.tensor(x), medkern.tensor(field[:, :1].copy()))


def test_a_field_of_half_the_resolution_is_enlarged(rng):
    """A constant field of the U-Net moves by twice as many elements of the image."""
    net = models.Registration(filters=(4, 8), half=True, integration=0)
    net.unet.head.weight.copy_(np.zeros(net.unet.head.weight.shape, np.float32))
    net.unet.head.bias.copy_(np.array([0.5, -1.0], np.float32))
    x = rng.random((1, 2, 8, 12)).astype(np.float32)
    y = net(medkern.tensor(x)).numpy()
    np.testing.assert_allclose(y[0, 1], 1.0)
    np.testing.assert_allclose(y[0, 2], -2.0)
    np.testing.assert_allclose(y[0, 0, :7, 2:], x[0, 0, 1:, :10], atol=1e-6)
    with pytest.raises(ValueError, match=r"every spatial size must be even, got \(1, 2, 7, 12\)"):
        net(medkern.tensor(x[:, :, 1:]))
    with pytest.raises(ValueError, match="half must be one of"):
        models.Registration(half=2)


@pytest.mark.parametrize("half", [False, True])
def test_it_learns_a_shift(rng, half):
    medkern.random.manual_seed(0)
    net = models.Registration(filters=(8, 16), half=half)
    optimizer = medkern.optim.Adam(net.parameters(), lr=1e-2)
    loss = medkern.losses.RegistrationLoss(0.05, window=5)
    image = functional.avg_pool2d(medkern.tensor(rng.random((1, 1, 28, 28))), 5, stride=1).numpy()
    fixed = np.ascontiguousarray(image[..., 2:-2, 2:-2], np.float32)
    moving = np.ascontiguousarray(image[..., 2:-2, 1:-3], np.float32)
    pair = medkern.tensor(np.concatenate([moving, fixed], 1))
    for _ in range(60):
        optimizer.zero_grad()
        output = net(pair)
        loss(output, medkern.tensor(fixed)).backward()
        optimizer.step()
    field = output.numpy()[0, 1:, 5:-5, 5:-5]
    assert abs(field[1].mean() - 1) < 0.3 and abs(field[0].mean()) < 0.3
