"""Convolution of 16-bit images and in tf32 by warpgroups, on CUDA devices of compute capability 9.0."""

import ctypes
import os

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last, slice_of
from medkern import _C, kernels
from reference import conv as reference
from reference import half

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device"),
]
NONE, ONE, TWO = (0, 0), (1, 1), (2, 2)
HALVES = ["float16", "bfloat16"]
FORWARD = {1: kernels.conv1d, 2: kernels.conv2d, 3: kernels.conv3d}

# x shape, output channels, kernel, stride, padding (before, after), dilation. Patches have 64 pixels, 8 to 64
# of them side by side, tiles 4 or 2 patches and 128 or 64 columns, products 64 channels.
CASES = [
    ((2, 64, 16, 16), 64, [3, 3], [1, 1], [ONE, ONE], [1, 1]),
    ((1, 100, 11, 29), 130, [3, 3], [1, 1], [TWO, (0, 3)], [1, 1]),
    ((1, 64, 21, 18), 72, [3, 3], [1, 1], [TWO, TWO], [2, 2]),
    ((1, 64, 26, 25), 64, [5, 3], [1, 1], [(6, 6), ONE], [3, 1]),  # taps that share no rows
    ((2, 64, 31, 15), 96, [3, 3], [2, 2], [ONE, ONE], [1, 1]),
    ((1, 64, 12, 65), 66, [3, 4], [1, 2], [ONE, ONE], [1, 1]),
    ((1, 64, 35, 9), 64, [2, 3], [3, 1], [NONE, ONE], [1, 1]),
    ((3, 64, 7, 7), 65, [1, 1], [1, 1], [NONE, NONE], [1, 1]),  # pixels of all images in one line
    ((2, 64, 16, 15), 64, [1, 1], [2, 2], [NONE, NONE], [1, 1]),
    ((3, 64, 90), 64, [5], [1], [(4, 0)], [1]),
    ((2, 64, 3, 9, 8), 64, [3, 3, 3], [1, 1, 1], [ONE, ONE, ONE], [1, 1, 1]),
    ((1, 64, 5, 16, 15), 64, [3, 3, 2], [2, 2, 2], [ONE, ONE, NONE], [1, 1, 1]),
    ((1, 256, 8, 8), 64, [3, 3], [1, 1], [ONE, ONE], [1, 1]),  # sums that are split
    ((4, 64, 32, 24), 128, [3, 3], [1, 1], [ONE, ONE], [1, 1]),  # all sizes of tiles by now
    ((4, 64, 24, 24), 64, [3, 3], [1, 1], [ONE, ONE], [1, 1]),
]


@pytest.fixture(autouse=True)
def on_cuda():
    with medkern.device("cuda"):
        yield
    medkern.cuda.synchronize()


def to(x, name):
    """In the memory format of x."""
    x = _C.Array(x)
    return kernels.copy(x, dtype=name, channels_last=x.keeps_channels_last)


def values(y):
    return kernels.copy(y, dtype="float64").numpy()


def integers(rng, shape):
    """Values whose products and sums are exact in float32."""
    return rng.integers(-4, 5, shape).astype(np.float32)


def launches(name="conv_wgmma_"):
    """How many kernels were started whose names begin so; None if that isn't known."""
    if os.environ.get("MEDKERN_CUDA") != "emulated":
        return None
    return ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_launches(name.encode())


def fills_blocks(channels):
    """Products of mostly zeros are left to other kernels."""
    return channels / 64 / np.ceil(channels / 64) >= 0.75


@pytest.mark.parametrize("name,layout", [("float16", channels_last), ("bfloat16", np.ascontiguousarray)])
@pytest.mark.parametrize("shape,outputs,kernel,stride,padding,dilation", CASES)
def test_small_integers_are_rounded_once(
    rng, shape, outputs, kernel, stride, padding, dilation, layout, name
):
    x, weight = layout(integers(rng, shape)), integers(rng, (outputs, shape[1], *kernel))
    bias = integers(rng, outputs)
    window = (stride, padding, dilation, 1)
    before = launches()
    expected = reference.conv(x, weight, bias, *window)
    y = FORWARD[len(shape) - 2](to(x, name), to(weight, name), to(bias, name), *window, activation="relu")
    np.testing.assert_array_equal(values(y), half.rounded(np.maximum(expected, 0), name))
    dy = layout(integers(rng, expected.shape))
    dx = kernels.conv_backward_input(to(dy, name), to(weight, name), shape, *window)
    expected = reference.conv_backward_input(dy, weight, shape, *window)
    np.testing.assert_array_equal(values(dx), half.rounded(expected, name))
    if before is not None:
        assert launches() == before + 1 + fills_blocks(outputs)


@pytest.mark.parametrize("name,layout", [("float16", channels_last), ("bfloat16", np.ascontiguousarray)])
@pytest.mark.parametrize("shape,outputs,kernel,stride,padding,dilation", CASES)
def test_gradients_of_weights(rng, shape, outputs, kernel, stride, padding, dilation, layout, name):
    window = (stride, padding, dilation, 1)
    size = reference.output_size(shape[2:], kernel, stride, padding, dilation)
    x, dy = layout(integers(rng, shape)), layout(integers(rng, (shape[0], outputs, *size)))
    weight_shape = (outputs, shape[1], *kernel)
    before = launches("conv_weight_wgmma_")
    expected = reference.conv_backward_weight(dy, x, weight_shape, *window)
    for kind in ("float32", name):
        out = _C.empty(weight_shape, kind)
        kernels.conv_backward_weight(to(dy, name), to(x, name), weight_shape, *window, out=out)
        exact = expected if kind == "float32" else half.rounded(expected, name)
        np.testing.assert_array_equal(values(out), exact)
    if before is not None:
        assert launches("conv_weight_wgmma_") == before + 2 * fills_blocks(outputs)


def test_all_kernels_take_part(rng):
    """Which tile a convolution gets depends on the device; here that each is taken is seen."""
    if launches() is None:
        pytest.skip("launches are counted on the emulator only")
    names = [
        f"conv_wgmma_{how}_{tile}"
        for how in ("f16", "bf16")
        for tile in ("256_128", "256_64", "128_128", "128_64")
    ]
    before = [launches(name) for name in names]
    for name in HALVES:
        for n, outputs in [(8, 128), (8, 64), (2, 128), (1, 64)]:
            x, weight = channels_last(integers(rng, (n, 64, 16, 16))), integers(rng, (outputs, 64, 1, 1))
            y = kernels.conv2d(to(x, name), to(weight, name))
            expected = half.rounded(reference.conv(x, weight, None, [1, 1], [NONE, NONE], [1, 1], 1), name)
            np.testing.assert_array_equal(values(y), expected)
    assert [launches(name) - count for name, count in zip(names, before, strict=True)] == [1] * 8


def test_all_kernels_of_weights_take_part(rng):
    if launches() is None:
        pytest.skip("launches are counted on the emulator only")
    for how, name in (("f16", "float16"), ("bf16", "bfloat16")):
        for taps, channels, rows in np.ndindex(2, 2, 2):
            kind = f"conv_weight_wgmma_{how}_{3 - 2 * taps}_{128 - 64 * channels}_{128 - 64 * rows}"
            before = launches(kind)
            x = channels_last(integers(rng, (2, 128 - 64 * channels, 12, 16)))
            dy = channels_last(integers(rng, (2, 128 - 64 * rows, 12, 16)))
            shape = (dy.shape[1], x.shape[1], 3 - 2 * taps, 3)
            window = ([1, 1], [(1 - taps,) * 2, ONE], [1, 1], 1)
            dweight = kernels.conv_backward_weight(to(dy, name), to(x, name), shape, *window)
            expected = reference.conv_backward_weight(dy, x, shape, *window)
            np.testing.assert_array_equal(values(dweight), half.rounded(expected, name))
            assert launches(kind) == before + 1


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize(
    "shape,outputs,kernel,stride,padding,extra,launched",
    [
        ((1, 128, 9, 8), 64, [2, 2], [2, 2], [NONE, NONE], [0, 0], True),
        ((1, 64, 10, 9), 64, [4, 4], [2, 2], [ONE, ONE], [0, 1], True),
        ((1, 64, 8, 8), 64, [1, 3], [3, 3], [NONE, NONE], [1, 2], True),  # positions that no tap reaches
        ((1, 64, 3, 4), 64, [2, 2], [5, 5], [NONE, NONE], [0, 0], False),
        ((1, 64, 2, 8, 8), 64, [2, 2, 2], [2, 2, 2], [NONE] * 3, [0, 0, 0], True),
    ],
)
def test_transposed(rng, shape, outputs, kernel, stride, padding, extra, launched, name):
    x, weight = channels_last(integers(rng, shape)), integers(rng, (shape[1], outputs, *kernel))
    bias = integers(rng, outputs)
    options = (stride, padding, extra, 1, [1] * len(kernel))
    transpose = kernels.conv_transpose2d if len(shape) == 4 else kernels.conv_transpose3d
    before = launches()
    y = transpose(to(x, name), to(weight, name), _C.Array(bias), *options)
    expected = reference.conv_transpose(x, weight, bias, *options)
    np.testing.assert_array_equal(values(y), half.rounded(expected, name))
    if before is not None:
        assert launches() == before + launched


@pytest.mark.parametrize("channels,outputs,size", [(512, 64, 8), (64, 80, 12)])
@pytest.mark.parametrize("name", HALVES)
def test_a_sample_alone_has_the_same_bits_and_plans_agree(rng, name, channels, outputs, size):
    # Of 512 channels and 8 x 8 pixels sums are split, alone into blocks, together within them.
    count = 8 if channels == 512 else 3
    x = to(channels_last(rng.standard_normal((count, channels, size, size)).astype(np.float32)), name)
    weight = to(rng.standard_normal((outputs, channels, 3, 3)).astype(np.float32), name)
    bias = _C.Array(rng.standard_normal(outputs).astype(np.float32))
    reduced = "conv_half_f16_reduce" if name == "float16" else "conv_half_bf16_reduce"
    before = launches(), launches(reduced)
    together = kernels.conv2d(x, weight, bias, padding=1)
    if before[0] is not None:
        assert (launches(), launches(reduced)) == (before[0] + 1, before[1])
    plan = kernels.conv_plan(weight, bias, padding=1)
    np.testing.assert_array_equal(values(plan(x)), values(together))
    for i in (0, count - 1):
        one = x.with_layout((1, channels, size, size), x.strides, i * x.strides[0])
        alone = kernels.conv2d(one, weight, bias, padding=1)
        np.testing.assert_array_equal(values(alone)[0], values(together)[i])
    if before[0] is not None:
        assert launches(reduced) == before[1] + (2 if channels == 512 else 0)


@pytest.fixture
def tf32():
    before = medkern.get_float32_matmul_precision()
    medkern.set_float32_matmul_precision("high")
    yield
    medkern.set_float32_matmul_precision(before)


@pytest.mark.parametrize("layout", FORMATS[:2])
@pytest.mark.parametrize(
    "shape,outputs,kernel,stride,padding,dilation",
    [
        ((2, 32, 16, 16), 64, [3, 3], [1, 1], [ONE, ONE], [1, 1]),
        ((1, 50, 11, 29), 131, [3, 3], [1, 1], [TWO, (0, 3)], [1, 1]),
        *[CASES[i] for i in (4, 7, 10, 12)],
        ((4, 64, 32, 24), 128, [3, 1], [1, 1], [ONE, NONE], [1, 1]),
    ],
)
def test_small_integers_are_exact_in_tf32(
    rng, tf32, shape, outputs, kernel, stride, padding, dilation, layout
):
    x, weight = layout(integers(rng, shape)), integers(rng, (outputs, shape[1], *kernel))
    bias = integers(rng, outputs)
    window = (stride, padding, dilation, 1)
    before = launches("conv_wgmma_tf32")
    expected = reference.conv(x, weight, bias, *window)
    y = FORWARD[len(shape) - 2](_C.Array(x), _C.Array(weight), _C.Array(bias), *window, activation="relu")
    np.testing.assert_array_equal(values(y), np.maximum(expected, 0))
    dy = layout(integers(rng, expected.shape))
    dx = kernels.conv_backward_input(_C.Array(dy), _C.Array(weight), shape, *window)
    np.testing.assert_array_equal(values(dx), reference.conv_backward_input(dy, weight, shape, *window))
    if before is not None:
        assert launches("conv_wgmma_tf32") == before + 1 + (shape[1] >= 64 and outputs != 65)


def test_errors_of_tf32_are_small(rng, tf32):
    # Two factors rounded to nearest, 2^-12 of each, to first order, and sums of float32.
    x, weight = rng.standard_normal((1, 96, 9, 16)), rng.standard_normal((64, 96, 3, 3))
    x, weight = channels_last(x.astype(np.float32)), weight.astype(np.float32)
    window = ([1, 1], [ONE, ONE], [1, 1], 1)
    y = values(kernels.conv2d(_C.Array(x), _C.Array(weight), None, *window))
    terms = reference.conv(np.abs(x), np.abs(weight), None, *window)
    error = np.abs(y - reference.conv(x, weight, None, *window))
    assert np.all(error <= (2 * 2.0**-12 + 2.0**-18) * terms)
    assert error.max() > 2.0**-20 * terms.mean()  # it is rounded


@pytest.mark.parametrize("name", HALVES)
def test_channels_of_a_larger_image(rng, name):
    whole, some = slice_of((2, 64, 9, 13), 8, 24)
    some[...] = integers(rng, some.shape)
    weight = integers(rng, (64, 64, 3, 3))
    given = to(whole, name)
    x = given.with_layout(some.shape, given.strides, 8 * given.strides[1])
    y = kernels.conv2d(x, to(weight, name), padding=1)
    expected = reference.conv(some, weight, None, [1, 1], [ONE, ONE], [1, 1], 1)
    np.testing.assert_array_equal(values(y), half.rounded(expected, name))


@pytest.mark.parametrize("name", HALVES)
def test_what_is_not_a_number_or_infinite_passes_through(name):
    x = np.zeros((1, 104, 9, 16), np.float32)
    x[0, 100, 1, 1], x[0, 0, 7, 12] = np.nan, np.inf
    y = values(
        kernels.conv2d(to(channels_last(x), name), to(np.ones((64, 104, 3, 3), np.float32), name), padding=1)
    )
    expected = np.zeros_like(y)
    expected[:, :, 0:3, 0:3], expected[:, :, 6:9, 11:14] = np.nan, np.inf
    np.testing.assert_array_equal(y, expected)
