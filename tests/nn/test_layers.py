"""Every layer gives what its function gives for its arguments and parameters; those have their own tests."""

import numpy as np
import pytest

import medkern
from medkern import functional, nn

RANKS = [1, 2, 3]


def layer(name, rank):
    return getattr(nn, f"{name}{rank}d")


def function(name, rank):
    return getattr(functional, f"{name}{rank}d")


def image(rng, rank, channels=4, size=6):
    return medkern.tensor(rng.normal(size=(2, channels) + (size,) * rank).astype(np.float32))


def same(got, expected):
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_linear(rng):
    net = nn.Linear(5, 3)
    assert net.weight.shape == (3, 5) and net.bias.shape == (3,)
    for values in (net.weight, net.bias):
        assert 0 < np.abs(values.numpy()).max() <= 1 / np.sqrt(5)
    x = medkern.tensor(rng.normal(size=(2, 4, 5)).astype(np.float32))
    same(net(x), functional.linear(x, net.weight, net.bias))
    assert repr(net) == "Linear(in_features=5, out_features=3, bias=True)"
    bare = nn.Linear(5, 3, bias=False)
    assert bare.bias is None and list(bare.state_dict()) == ["weight"]
    same(bare(x), functional.linear(x, bare.weight))


@pytest.mark.parametrize("rank", RANKS)
def test_conv(rng, rank):
    net = layer("Conv", rank)(4, 6, 3, stride=2, padding=1, dilation=2, groups=2)
    assert net.weight.shape == (6, 2) + (3,) * rank and net.bias.shape == (6,)
    for values in (net.weight, net.bias):
        assert 0 < np.abs(values.numpy()).max() <= 1 / np.sqrt(2 * 3**rank)
    x = image(rng, rank)
    same(net(x), function("conv", rank)(x, net.weight, net.bias, 2, 1, 2, 2))
    assert repr(net) == (
        f"Conv{rank}d(4, 6, kernel_size={(3,) * rank}, stride=2, padding=1, dilation=2, groups=2)"
    )
    bare = layer("Conv", rank)(4, 6, (1,) * rank, bias=False)
    assert bare.bias is None and bare.weight.shape == (6, 4) + (1,) * rank
    same(bare(x), function("conv", rank)(x, bare.weight))
    assert repr(bare).endswith(", bias=False)")


@pytest.mark.parametrize("rank", RANKS)
def test_conv_transpose(rng, rank):
    net = layer("ConvTranspose", rank)(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
    assert net.weight.shape == (4, 3) + (3,) * rank and net.bias.shape == (6,)
    assert 0 < np.abs(net.weight.numpy()).max() <= 1 / np.sqrt(3 * 3**rank)
    x = image(rng, rank)
    y = net(x)
    assert y.shape == (2, 6) + (12,) * rank
    same(y, function("conv_transpose", rank)(x, net.weight, net.bias, 2, 1, 1, 2, 1))
    assert "output_padding=1, groups=2" in repr(net)
    dilated = layer("ConvTranspose", rank)(4, 2, 2, dilation=2, bias=False)
    same(dilated(x), function("conv_transpose", rank)(x, dilated.weight, dilation=2))


@pytest.mark.parametrize("rank", RANKS)
def test_pooling(rng, rank):
    x = image(rng, rank)
    same(layer("MaxPool", rank)(2, 1, 1)(x), function("max_pool", rank)(x, 2, 1, 1))
    same(
        layer("MaxPool", rank)(3, dilation=2, ceil_mode=True)(x),
        function("max_pool", rank)(x, 3, dilation=2, ceil_mode=True),
    )
    pooled, indices = layer("MaxPool", rank)(2, return_indices=True)(x)
    same(layer("MaxUnpool", rank)(2)(pooled, indices), function("max_unpool", rank)(pooled, indices, 2))
    wide = (7,) * rank
    same(
        layer("MaxUnpool", rank)(2)(pooled, indices, output_size=wide),
        function("max_unpool", rank)(pooled, indices, 2, output_size=wide),
    )
    same(
        layer("AvgPool", rank)(2, 1, 1, count_include_pad=False)(x),
        function("avg_pool", rank)(x, 2, 1, 1, count_include_pad=False),
    )
    same(layer("AvgPool", rank)(4, ceil_mode=True)(x), function("avg_pool", rank)(x, 4, ceil_mode=True))
    same(layer("AdaptiveAvgPool", rank)(3)(x), function("adaptive_avg_pool", rank)(x, 3))
    same(layer("AdaptiveMaxPool", rank)(1)(x), function("adaptive_max_pool", rank)(x, 1))
    for got, expected in zip(
        layer("AdaptiveMaxPool", rank)(4, return_indices=True)(x),
        function("adaptive_max_pool", rank)(x, 4, return_indices=True),
        strict=True,
    ):
        same(got, expected)
    assert repr(layer("AdaptiveAvgPool", rank)(3)) == f"AdaptiveAvgPool{rank}d(output_size=3)"


@pytest.mark.parametrize("rank", RANKS)
def test_batch_norm_follows_the_batches_in_training_and_not_in_evaluation(rng, rank):
    net = layer("BatchNorm", rank)(4)
    net.weight.copy_([1, 2, 3, 4])
    x = image(rng, rank)
    axes = (0, *range(2, rank + 2))
    mean, var = x.numpy().mean(axes), x.numpy().var(axes, ddof=1)
    y = net(x)
    same(y, functional.batch_norm(x, None, None, net.weight, net.bias, training=True))
    np.testing.assert_allclose(net.running_mean.numpy(), 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(net.running_var.numpy(), 0.9 + 0.1 * var, rtol=1e-4)
    assert net.num_batches_tracked.item() == 1
    net.eval()
    kept = {name: value.numpy().copy() for name, value in net.named_buffers()}
    y = net(x)
    same(y, functional.batch_norm(x, net.running_mean, net.running_var, net.weight, net.bias))
    for name, value in net.named_buffers():
        np.testing.assert_array_equal(value.numpy(), kept[name])
    net.reset_parameters()
    assert net.num_batches_tracked.item() == 0
    for values, expected in ((net.weight, 1), (net.bias, 0), (net.running_mean, 0), (net.running_var, 1)):
        np.testing.assert_array_equal(values.numpy(), np.full(4, expected))


def test_batch_norm_without_momentum_averages_all_batches(rng):
    net = nn.BatchNorm1d(3, momentum=None)
    batches = rng.normal(size=(4, 5, 3)).astype(np.float32)
    for batch in batches:
        net(medkern.tensor(batch))
    np.testing.assert_allclose(net.running_mean.numpy(), batches.mean((0, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(net.running_var.numpy(), batches.var(1, ddof=1).mean(0), rtol=1e-4)


def test_batch_norm_without_running_statistics_uses_the_batch_in_evaluation_too(rng):
    net = nn.BatchNorm2d(4, affine=False, track_running_stats=False).eval()
    assert net.state_dict() == {}
    x = image(rng, 2)
    same(net(x), functional.batch_norm(x, None, None, training=True))


@pytest.mark.parametrize("rank", RANKS)
def test_instance_norm(rng, rank):
    x = image(rng, rank)
    assert list(layer("InstanceNorm", rank)(4).parameters()) == []
    same(layer("InstanceNorm", rank)(4, eps=0.1)(x), functional.instance_norm(x, eps=0.1))
    net = layer("InstanceNorm", rank)(4, affine=True)
    net.weight.copy_([1, 2, 3, 4])
    same(net(x), functional.instance_norm(x, net.weight, net.bias))


def test_group_norm(rng):
    x = image(rng, 2)
    net = nn.GroupNorm(2, 4)
    net.bias.copy_([1, 2, 3, 4])
    same(net(x), functional.group_norm(x, 2, net.weight, net.bias))
    bare = nn.GroupNorm(4, 4, eps=0.1, affine=False)
    same(bare(x), functional.group_norm(x, 4, eps=0.1))
    assert repr(bare) == "GroupNorm(4, 4, eps=0.1, affine=False)"


def test_layer_norm(rng):
    x = image(rng, 1)
    net = nn.LayerNorm(6)
    net.bias.copy_(np.arange(6))
    same(net(x), functional.layer_norm(x, (6,), net.weight, net.bias))
    assert nn.LayerNorm((4, 6)).weight.shape == (4, 6)
    assert nn.LayerNorm(6, bias=False).bias is None
    bare = nn.LayerNorm((4, 6), eps=0.1, elementwise_affine=False)
    assert bare.weight is None and bare.bias is None
    same(bare(x), functional.layer_norm(x, (4, 6), eps=0.1))


def test_norms_check_the_rank_of_x(rng):
    for rank in RANKS:
        wrong = image(rng, rank % 3 + 1)
        for name in ("BatchNorm", "InstanceNorm"):
            with pytest.raises(
                ValueError, match=rf"{name}{rank}d: x must have .*dimensions, got {wrong.ndim}"
            ):
                layer(name, rank)(4)(wrong)
    assert nn.BatchNorm1d(4)(medkern.tensor(rng.normal(size=(3, 4)).astype(np.float32))).shape == (3, 4)


def test_dropout(rng):
    x = medkern.tensor(np.ones((8, 128), np.float32))
    net = nn.Dropout(0.25)
    y = net(x).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    # 1024 draws: five standard deviations are 69.
    assert abs((y == 0).sum() - 256) < 69
    same(net.eval()(x), x)
    with pytest.raises(ValueError, match=r"Dropout: p must lie in \[0, 1\], got 1.5"):
        nn.Dropout(1.5)


def test_upsample(rng):
    x = image(rng, 2)
    same(nn.Upsample(scale_factor=2)(x), functional.interpolate(x, scale_factor=2))
    net = nn.Upsample(size=(9, 7), mode="bilinear", align_corners=True)
    same(net(x), functional.interpolate(x, (9, 7), mode="bilinear", align_corners=True))
    assert repr(net) == "Upsample(size=(9, 7), mode='bilinear')"


def test_shapes(rng):
    x = image(rng, 2)
    assert nn.Identity()(x) is x
    flat = nn.Flatten()(x)
    assert flat.shape == (2, 4 * 6 * 6)
    assert nn.Flatten(0, 1)(x).shape == (8, 6, 6)
    same(nn.Unflatten(1, (4, 6, 6))(flat), x)
    assert nn.Unflatten(-1, (2, -1))(x).shape == (2, 4, 6, 2, 3)


def test_layers_follow_to(rng):
    net = nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 2)).to(np.float64)
    x = medkern.tensor(rng.normal(size=(2, 4, 6, 6)))
    y = net(x)
    assert y.dtype == np.float64
    y.backward(medkern.tensor(np.ones((2, 2))))
    assert all(p.grad.dtype == np.float64 and p.grad.shape == p.shape for p in net.parameters())


def test_layers_start_the_same_after_the_same_seed():
    weights = []
    for _ in range(2):
        medkern.random.manual_seed(3)
        weights.append(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 5)).state_dict())
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value.numpy(), weights[1][name].numpy())
    assert weights[0]["0.weight"].numpy().ravel()[0] != weights[0]["1.weight"].numpy().ravel()[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 2), "Linear: in_features must be positive, got 0"),
        (lambda: nn.Linear(2, -1), "Linear: out_features must be positive, got -1"),
        (lambda: nn.Conv2d(0, 2, 3), "Conv2d: in_channels must be positive, got 0"),
        (lambda: nn.Conv2d(2, 2, 3, groups=0), "Conv2d: groups must be positive, got 0"),
        (
            lambda: nn.Conv2d(2, 2, 3, activation="tanh"),
            "Conv2d: activation must be None or 'relu', got 'tanh'",
        ),
        (
            lambda: nn.Conv2d(3, 4, 3, groups=2),
            "Conv2d: in_channels must be divisible by groups, got in_channels 3 and groups 2",
        ),
        (lambda: nn.Conv2d(2, 3, 3, groups=2), "Conv2d: out_channels must be divisible by groups"),
        (lambda: nn.Conv3d(2, 3, (3, 3)), r"Conv3d: kernel_size must be an int or 3 ints, got \(3, 3\)"),
        (lambda: nn.Conv2d(2, 3, (3, 0)), "Conv2d: kernel_size must be positive, got 0"),
        (lambda: nn.ConvTranspose1d(2, 0, 3), "ConvTranspose1d: out_channels must be positive, got 0"),
        (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features must be positive, got 0"),
        (lambda: nn.InstanceNorm1d(-2), "InstanceNorm1d: num_features must be positive, got -2"),
        (lambda: nn.GroupNorm(0, 2), "GroupNorm: num_groups must be positive, got 0"),
        (lambda: nn.GroupNorm(2, 3), "GroupNorm: num_channels must be divisible by num_groups, got"),
        (lambda: nn.LayerNorm(()), r"LayerNorm: normalized_shape must have at least one size, got \(\)"),
        (lambda: nn.LayerNorm((3, 0)), "LayerNorm: normalized_shape must be positive, got 0"),
    ],
)
def test_sizes_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_must_be_ints():
    for make in (lambda: nn.Linear(2.5, 1), lambda: nn.Conv1d(1, 1, (2.5,)), lambda: nn.GroupNorm(True, 2)):
        with pytest.raises(TypeError, match="must be an int, got"):
            make()
