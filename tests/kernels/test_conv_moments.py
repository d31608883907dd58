"""The moments that a convolution leaves for a norm, on CUDA, and norms that take them."""

import ctypes
import os

import numpy as np
import pytest

import medkern
from arrays import channels_last
from medkern import _C, kernels
from medkern.kernels._precision import matmul_precision

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device"),
]
CHUNK = 64
UNIT = 2.0**-24
# A chunk's sums have 8 terms a thread and half of the rows, and come together in four additions; a few units
# more are for the differences.
ROUNDINGS = 16
TYPES = ["float32", "float16", "bfloat16"]
# x shape, output channels, kernel, stride, padding, groups: pixels around chunks and tiles, channels around
# tiles of 64 and 128; on the emulator the tiles are small, narrow, large in the first three.
CASES = [
    ((3, 8, 5, 7), 17, 3, 1, 1, 1),
    ((2, 8, 24, 24), 40, 1, 1, 0, 1),
    ((1, 8, 33, 32), 130, 1, 1, 0, 1),
    ((2, 12, 9, 9), 66, 3, 2, 1, 2),
    ((1, 5, 3, 5, 6), 9, 3, 1, 1, 1),
    ((2, 9, 50), 8, 3, 1, 0, 1),
    ((1, 8, 1, 1), 3, 1, 1, 0, 1),
]


@pytest.fixture(autouse=True)
def on_cuda():
    with medkern.device("cuda"):
        yield
    medkern.cuda.synchronize()


def launches(name):
    """Of kernels whose names begin so; None if that isn't known."""
    if os.environ.get("MEDKERN_CUDA") != "emulated":
        return None
    return ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_launches(name.encode())


def to(x, name):
    return kernels.copy(_C.Array(channels_last(np.asarray(x, np.float32))), dtype=name, channels_last=True)


def values(y):
    return kernels.copy(y, dtype="float64").numpy()


def conv(x, weight, bias, stride=1, padding=0, groups=1, *, activation=0, per_sample=False):
    rank = len(x.shape) - 2
    return _C.conv_with_moments(
        x, weight, bias, rank, stride, padding, 1, groups, activation, per_sample=per_sample
    )


def rows_of(y):
    """(pixel, channel) of a whole batch."""
    return np.moveaxis(y, 1, -1).reshape(-1, y.shape[1])


def chunks_of(y):
    rows = rows_of(np.asarray(y, np.float64))
    return [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]


def moments_of(y):
    """Exact ones, as a convolution would leave them."""
    return np.array([(c.mean(0), ((c - c.mean(0)) ** 2).sum(0)) for c in chunks_of(y)])


def check(moments, y):
    """Against the values as stored; errors are those of float32 sums of what differs from a first value."""
    expected = moments_of(y)
    assert moments.shape == expected.shape and moments.dtype == np.float64
    for found, (mean, m2), chunk in zip(moments, expected, chunks_of(y), strict=True):
        d = np.abs(chunk - chunk[0])
        assert np.all(np.abs(found[0] - mean) <= ROUNDINGS * UNIT * d.mean(0) + 1e-15 * np.abs(mean))
        assert np.all(np.abs(found[1] - m2) <= ROUNDINGS * UNIT * (d * d).sum(0))


def draw(rng, case, name):
    shape, outputs, kernel, stride, padding, groups = case
    window = (outputs, shape[1] // groups, *[kernel] * (len(shape) - 2))
    x, weight = (to(rng.standard_normal(s), name) for s in (shape, window))
    return x, weight, rng.standard_normal(outputs).astype(np.float32), stride, padding, groups


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("case", CASES)
def test_moments_are_those_of_the_stored_values(rng, case, name):
    given = draw(rng, case, name)
    for activation in (0, 1):
        y, moments = conv(*given, activation=activation)
        x, weight, bias, *window = given
        again = _C.conv(
            x, weight, bias, len(x.shape) - 2, window[0], window[1], 1, window[2], activation, True, None
        )
        np.testing.assert_array_equal(values(y), values(again))
        check(moments.numpy(), values(y))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_moments_in_less_precision(rng, precision):
    with matmul_precision(precision):
        for case in CASES[:3]:
            y, moments = conv(*draw(rng, case, "float32"))
            check(moments.numpy(), values(y))


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_large_mean_costs_no_digits(rng, name):
    x, weight = rng.standard_normal((1, 16, 20, 20)), rng.standard_normal((24, 16, 1, 1)) / 4
    y, moments = conv(to(x, name), to(weight, name), np.full(24, 1000, np.float32))
    assert abs(values(y).mean() - 1000) < 1 and values(y).std() > 0.5
    check(moments.numpy(), values(y))


def test_what_is_not_a_number_stays_in_its_chunk_and_channel(rng):
    x, weight = rng.standard_normal((1, 8, 16, 12)), rng.standard_normal((20, 8, 1, 1))
    x[0, :, 5, 10] = np.inf, *[0] * 7  # pixel 70
    weight[4, 0] = np.nan
    y, moments = conv(to(x, "float32"), to(weight, "float32"), None)
    finite = np.isfinite(moments.numpy())
    expected = np.ones((3, 2, 20), bool)
    expected[1] = False
    expected[:, :, 4] = False
    np.testing.assert_array_equal(finite, expected)
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(values(y)[0, :, 5, 10]).any()


def test_a_sample_alone_and_in_a_batch(rng):
    for outputs in (40, 130):  # tiles differ with the number of pixels
        case = ((5, 8, 16, 16), outputs, 3, 1, 1, 1)
        x, weight, *rest = draw(rng, case, "bfloat16")
        _, together = conv(x, weight, *rest, per_sample=True)
        one = kernels.copy(_C.Array(channels_last(values(x)[2:3])), dtype="bfloat16", channels_last=True)
        _, alone = conv(one, weight, *rest, per_sample=True)
        np.testing.assert_array_equal(together.numpy()[8:12], alone.numpy())


# x shape, output channels, kernel, stride: for warpgroups, in patches of 64 pixels that are 8 to 64 wide.
PATCHES = [
    ((2, 64, 16, 16), 72, 3, 1),
    ((4, 64, 32, 24), 128, 3, 1),
    ((1, 64, 1, 128), 65, 1, 1),
    ((2, 64, 16, 32), 64, 3, 2),
    ((2, 64, 2, 8, 8), 64, 3, 1),
    ((3, 96, 8, 8), 130, 1, 1),
]


@pytest.mark.parametrize("name", TYPES[1:])
@pytest.mark.parametrize("case", PATCHES)
def test_moments_of_patches(rng, case, name):
    shape, outputs, kernel, stride = case
    x, weight, bias, *window = draw(rng, (shape, outputs, kernel, stride, kernel // 2, 1), name)
    before = launches("conv_wgmma")
    y, moments = conv(x, weight, 1000 + 8 * bias, *window, per_sample=True)
    assert before is None or launches("conv_wgmma") > before
    y, moments = values(y), moments.numpy()
    pixels = int(np.prod(y.shape[2:]))
    moments = moments.reshape(shape[0], pixels // CHUNK, 2, outputs)
    for sample, found in zip(y.reshape(shape[0], outputs, pixels), moments, strict=True):
        # Any order of a sample's pixels: its chunks together, as a norm merges them.
        mean = found[:, 0].mean(0)
        m2 = found[:, 1].sum(0) + CHUNK * ((found[:, 0] - mean) ** 2).sum(0)
        expected = sample.mean(1)
        d = np.ptp(sample, 1)
        assert np.all(np.abs(mean - expected) <= ROUNDINGS * UNIT * d)
        assert np.all(
            np.abs(m2 - ((sample - expected[:, None]) ** 2).sum(1)) <= ROUNDINGS * UNIT * pixels * d * d
        )
        assert np.all(found[:, 0] >= sample.min(1)) and np.all(found[:, 0] <= sample.max(1))
    one = kernels.copy(_C.Array(channels_last(values(x)[-1:])), dtype=name, channels_last=True)
    alone = conv(one, weight, 1000 + 8 * bias, *window, per_sample=True)[1].numpy()
    np.testing.assert_array_equal(moments[-1], alone)


def test_no_moments_of_parts_of_patches(rng):
    x, weight = to(rng.standard_normal((1, 64, 17, 16)), "bfloat16"), to(np.zeros((64, 64, 3, 3)), "bfloat16")
    assert conv(x, weight, None, 1, 1)[1] is None


@pytest.mark.parametrize(
    "shape, window, groups",
    [
        ((2, 3, 8, 8), (8, 3, 3, 3), 1),  # few channels
        ((2, 8, 8, 8), (8, 1, 3, 3), 8),  # depthwise
        ((1, 256, 4, 4), (8, 256, 3, 3), 1),  # split along the sum
        ((2, 8, 8, 8), (1, 8, 3, 3), 1),  # one channel
        ((0, 8, 8, 8), (8, 8, 3, 3), 1),
    ],
)
def test_no_moments(rng, shape, window, groups):
    x, weight = (rng.standard_normal(s).astype(np.float32) for s in (shape, window))
    y, moments = conv(x, weight, None, 1, 1, groups)
    assert moments is None
    np.testing.assert_array_equal(y.numpy(), _C.conv(x, weight, None, 2, 1, 1, 1, groups, 0, True, None))


def test_no_moments_in_float64_of_parts_of_samples_and_on_the_cpu(rng):
    x, weight = (rng.standard_normal(s).astype(np.float32) for s in ((2, 8, 8, 9), (8, 8, 1, 1)))
    assert conv(x, weight, None)[1] is not None
    assert conv(x, weight, None, per_sample=True)[1] is None
    assert conv(x[..., :8], weight, None, per_sample=True)[1] is not None
    assert conv(x.astype(np.float64), weight.astype(np.float64), None)[1] is None
    with medkern.device("cpu"):
        assert conv(x, weight, None)[1] is None


# Enough chunks of 64 for some to be merged before the rest, as many as are not, and a few.
NORM_SHAPES = [(2, 16, 96, 97), (1, 6, 128, 128), (3, 5, 7, 9), (4, 130, 8, 8)]


def norms(x, moments, samples):
    """(y, mean, rstd) of each norm and the running statistics."""
    c = x.shape[1]
    weight, bias = np.linspace(1, 2, c, dtype=np.float32), np.linspace(-1, 1, c, dtype=np.float32)
    running = np.zeros(c, np.float32), np.ones(c, np.float32)
    found = [_C.batch_norm(x, *running, weight, bias, True, 0.3, 1e-5, 1, None, moments=moments)]
    if samples:
        found.append(_C.instance_norm(x, weight, bias, 1e-5, 0, None, moments=moments))
        found.append(_C.group_norm(x, 2, weight, bias, 1e-5, 0, None, moments=moments))
    return [values(a) for result in found for a in result] + list(running)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", NORM_SHAPES)
def test_norms_take_moments(rng, shape, name):
    """They give what they give without; only sums have another order."""
    x = to(1000 + rng.standard_normal(shape), name)
    samples = np.prod(shape[2:]) % CHUNK == 0 and shape[1] % 2 == 0
    found = norms(x, moments_of(values(x)), samples)
    expected = norms(x, None, samples)
    for one, other in zip(found, expected, strict=True):
        # float64 sums; y and the running statistics are rounded, to a neighbor at times.
        np.testing.assert_allclose(one, other, rtol=2.0**-7 if name == "bfloat16" else 1e-6, atol=1e-6)
    for i in range(1, len(found) - 2, 3):
        for one, other in zip(found[i : i + 2], expected[i : i + 2], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11)


def test_norms_read_x_for_nothing_but_the_result(rng):
    x = channels_last(rng.standard_normal((2, 4, 8, 8)).astype(np.float32))
    found = norms(x, moments_of(x + 5), True)
    np.testing.assert_allclose(found[1], x.mean((0, 2, 3)) + 5, rtol=1e-5)
    np.testing.assert_allclose(found[4], x.mean((2, 3)) + 5, rtol=1e-5)


def test_norms_refuse_other_moments(rng):
    x = channels_last(rng.standard_normal((2, 4, 8, 8)).astype(np.float32))
    good = moments_of(x)

    def batch(x=x, moments=good, training=True):
        c = np.ones(x.shape[1], x.dtype)
        return _C.batch_norm(x, c, c.copy(), None, None, training, 0.1, 1e-5, 0, None, moments=moments)

    batch()
    with pytest.raises(ValueError, match=r"batch_norm: moments must have shape \(2, 2, 4\), got \(3, 2, 4\)"):
        batch(moments=np.zeros((3, 2, 4)))
    with pytest.raises(ValueError, match="batch_norm: moments must have"):
        batch(moments=np.zeros((2, 8)))
    with pytest.raises(TypeError, match="batch_norm: moments must be float64"):
        batch(moments=good.astype(np.float32))
    with pytest.raises(ValueError, match="batch_norm: moments are used in training only"):
        batch(training=False)
    with pytest.raises(ValueError, match="moments go with channels-last x of more than one channel only"):
        batch(np.ascontiguousarray(x))
    with pytest.raises(ValueError, match="channels-last x of more than one channel only"):
        batch(x[:, :1], good[..., :1].copy())
    odd = channels_last(rng.standard_normal((2, 4, 8, 9)).astype(np.float32))
    batch(odd, moments_of(odd))
    for norm in (
        lambda: _C.instance_norm(odd, None, None, 1e-5, 0, None, moments=moments_of(odd)),
        lambda: _C.group_norm(odd, 2, None, None, 1e-5, 0, None, moments=moments_of(odd)),
    ):
        with pytest.raises(ValueError, match=r"moments of 64 pixels need samples of a multiple of that"):
            norm()
    with (
        medkern.device("cpu"),
        pytest.raises(ValueError, match="moments go with arrays on CUDA devices only"),
    ):
        batch()
