"""Convolution of float16 and bfloat16 images, on CUDA."""

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import _C, kernels
from reference import conv as reference
from reference import half

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device"),
]
NONE, ONE = (0, 0), (1, 1)
UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
HALVES = list(UNIT)

# x shape, output channels, kernel, stride, padding (before, after), dilation, groups: channels around a
# vector of 8 and a tile of 64, pixels around tiles of 64 and 128, sums past a slice of 64.
CASES = [
    ((2, 3, 9), 5, [3], [1], [ONE], [1], 1),
    ((2, 8, 6, 7), 16, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((1, 1, 6, 15), 33, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((1, 33, 5, 14), 31, [3, 2], [1, 1], [ONE, (0, 1)], [1, 1], 1),
    ((2, 15, 7, 9), 16, [3, 3], [2, 2], [ONE, ONE], [1, 1], 1),
    ((1, 24, 9, 10), 72, [3, 3], [1, 1], [(2, 2), (2, 2)], [2, 2], 1),
    ((1, 64, 11, 12), 130, [1, 1], [1, 1], [NONE, NONE], [1, 1], 1),
    ((2, 16, 6, 5), 32, [3, 3], [1, 1], [ONE, ONE], [1, 1], 2),
    ((2, 6, 7, 8), 6, [3, 3], [2, 2], [ONE, ONE], [1, 1], 6),
    ((2, 3, 6, 7), 6, [3, 3], [1, 2], [ONE, ONE], [1, 1], 3),
    ((1, 2, 5, 6, 7), 17, [3, 3, 3], [1, 1, 1], [ONE, ONE, ONE], [1, 1, 1], 1),
    ((1, 2, 3, 40), 3, [1, 33], [1, 1], [NONE, (16, 16)], [1, 1], 1),  # more taps than bits
    ((1, 256, 3, 4), 8, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),  # split along the sum
    ((0, 3, 4, 4), 5, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((2, 0, 4, 4), 5, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
]
FORWARD = {1: kernels.conv1d, 2: kernels.conv2d, 3: kernels.conv3d}


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


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("layout", FORMATS[:2])
@pytest.mark.parametrize("shape,outputs,kernel,stride,padding,dilation,groups", CASES)
def test_small_integers_are_rounded_once(
    rng, shape, outputs, kernel, stride, padding, dilation, groups, layout, name
):
    x, weight = layout(integers(rng, shape)), integers(rng, (outputs, shape[1] // groups, *kernel))
    bias = integers(rng, outputs)
    window = (stride, padding, dilation, groups)
    forward = FORWARD[len(shape) - 2]
    expected = reference.conv(x, weight, bias, *window)
    y = forward(to(x, name), to(weight, name), _C.Array(bias), *window)
    assert y.dtype == name
    np.testing.assert_array_equal(values(y), half.rounded(expected, name))
    y = forward(to(x, name), to(weight, name), to(bias, name), *window, activation="relu")
    np.testing.assert_array_equal(values(y), half.rounded(np.maximum(expected, 0), name))
    dy = layout(integers(rng, expected.shape))
    dx = kernels.conv_backward_input(to(dy, name), to(weight, name), shape, *window)
    expected = reference.conv_backward_input(dy, weight, shape, *window)
    np.testing.assert_array_equal(values(dx), half.rounded(expected, name))
    expected = reference.conv_backward_weight(dy, x, weight.shape, *window)
    for kind in ("float32", name):
        out = _C.empty(weight.shape, kind)
        kernels.conv_backward_weight(to(dy, name), to(x, name), weight.shape, *window, out=out)
        exact = expected if kind == "float32" else half.rounded(expected, name)
        np.testing.assert_array_equal(values(out), exact)


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize(
    "case",
    [
        ((1, 17, 5, 6), 16, [2, 2], [2, 2], [NONE, NONE], [0, 0], 1, [1, 1]),
        ((1, 4, 5, 4), 3, [4, 4], [2, 2], [ONE, ONE], [0, 1], 1, [1, 1]),
        ((1, 6, 4, 5), 1, [3, 3], [2, 2], [ONE, ONE], [1, 1], 6, [1, 1]),
        ((1, 8, 3, 4, 3), 3, [2, 2, 2], [2, 2, 2], [NONE] * 3, [0, 0, 0], 1, [1, 1, 1]),
    ],
)
def test_transposed(rng, case, name):
    shape, outputs, kernel, stride, padding, output_padding, groups, dilation = case
    x, weight = channels_last(integers(rng, shape)), integers(rng, (shape[1], outputs, *kernel))
    options = (stride, padding, output_padding, groups, dilation)
    transpose = kernels.conv_transpose2d if len(shape) == 4 else kernels.conv_transpose3d
    y = transpose(to(x, name), to(weight, name), None, *options)
    expected = reference.conv_transpose(x, weight, None, *options)
    np.testing.assert_array_equal(values(y), half.rounded(expected, name))


@pytest.mark.parametrize("name", HALVES)
def test_rounding_errors_are_small(rng, name):
    # Products of two rounded numbers are exact in float32 and sums are of float32, cut off at worst, so that
    # beside the inputs' rounding only that of the result counts: u of it, and 2^-23 of the terms' sum for
    # each of up to 1350 / 16 = 85 steps of a sum.
    def draw(*shape):
        return half.rounded(rng.standard_normal(shape), name).astype(np.float32)

    x, weight, dy = draw(1, 150, 7, 9), draw(20, 150, 3, 3), draw(1, 20, 7, 9)
    window = ([1, 1], [ONE, ONE], [1, 1], 1)
    for function, oracle, arguments in [
        (kernels.conv2d, reference.conv, (x, weight, None)),
        (kernels.conv_backward_input, reference.conv_backward_input, (dy, weight, x.shape)),
        (kernels.conv_backward_weight, reference.conv_backward_weight, (dy, x, weight.shape)),
    ]:
        given = [to(a, name) if isinstance(a, np.ndarray) else a for a in arguments]
        sizes = [np.abs(a) if isinstance(a, np.ndarray) else a for a in arguments]
        expected, terms = oracle(*arguments, *window), oracle(*sizes, *window)
        error = np.abs(values(function(*given, *window)) - expected)
        assert np.all(error <= UNIT[name] * np.abs(expected) + 85 * 2.0**-23 * terms)


@pytest.mark.parametrize("name", HALVES)
def test_a_sample_alone_has_the_same_bits_and_plans_agree(rng, name):
    x = to(channels_last(rng.standard_normal((3, 24, 9, 17)).astype(np.float32)), name)
    weight = to(rng.standard_normal((24, 24, 3, 3)).astype(np.float32), name)
    bias = _C.Array(rng.standard_normal(24).astype(np.float32))
    together = kernels.conv2d(x, weight, bias, padding=1)
    plan = kernels.conv_plan(weight, bias, padding=1)
    np.testing.assert_array_equal(values(plan(x)), values(together))
    for i in range(3):
        one = x.with_layout((1, 24, 9, 17), x.strides, i * x.strides[0])
        np.testing.assert_array_equal(
            values(kernels.conv2d(one, weight, bias, padding=1))[0], values(together)[i]
        )


@pytest.mark.parametrize("name", HALVES)
def test_what_is_not_a_number_or_infinite_passes_through(name):
    x = np.zeros((1, 8, 5, 9), np.float32)
    x[0, 0, 1, 1], x[0, 0, 3, 6] = np.nan, np.inf
    y = values(kernels.conv2d(to(x, name), to(np.ones((3, 8, 3, 3), np.float32), name), padding=1))
    assert np.isnan(y[:, :, 0:3, 0:3]).all() and np.isposinf(y[:, :, 2:5, 5:8]).all()
    assert np.isfinite(y[:, :, 4, :4]).all()
    large = to(np.full((1, 8, 4, 4), 60000 if name == "float16" else 3e38, np.float32), name)
    assert np.isposinf(values(kernels.conv2d(large, to(np.ones((1, 8, 1, 1), np.float32), name)))).all()


def test_types_that_do_not_fit_are_named(rng):
    x, weight = to(integers(rng, (1, 8, 4, 4)), "bfloat16"), to(integers(rng, (8, 8, 3, 3)), "bfloat16")
    wide, other = kernels.copy(weight, dtype="float32"), kernels.copy(weight, dtype="float16")
    for wrong, kind in [(wide, "float32"), (other, "float16")]:
        with pytest.raises(TypeError, match=f"weight must be bfloat16 as x is, got {kind}"):
            kernels.conv2d(x, wrong)
        with pytest.raises(TypeError, match=f"weight must be bfloat16 as dy is, got {kind}"):
            kernels.conv_backward_input(x, wrong, (1, 8, 4, 4), padding=1)
    with pytest.raises(TypeError, match="bias must be bfloat16 as x is, got float16"):
        kernels.conv2d(x, weight, to(integers(rng, 8), "float16"))
    with pytest.raises(TypeError, match="y must be bfloat16 as x is, got float32"):
        kernels.conv2d(x, weight, out=_C.empty((1, 8, 2, 2), "float32"))
    with pytest.raises(TypeError, match="dweight must be bfloat16 as dy is, got float16"):
        kernels.conv_backward_weight(x, x, weight.shape, padding=1, out=_C.empty(weight.shape, "float16"))
