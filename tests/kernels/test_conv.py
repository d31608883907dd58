import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import conv as reference

NONE, ONE = (0, 0), (1, 1)

# x shape, output channels, kernel, stride, padding (before, after), dilation, groups.
# Channels lie around the vector (16, 8, 4, 2) and the panel (two of those), widths around the tile.
CASES = [
    ((2, 3, 9), 5, [3], [1], [ONE], [1], 1),
    ((1, 1, 7), 1, [1], [1], [NONE], [1], 1),
    ((1, 16, 33), 17, [4], [3], [(2, 1)], [2], 1),
    ((2, 4, 8, 8), 8, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((1, 1, 6, 15), 33, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((1, 33, 5, 14), 31, [3, 2], [1, 1], [ONE, (0, 1)], [1, 1], 1),
    ((2, 15, 7, 9), 16, [3, 3], [2, 2], [ONE, ONE], [1, 1], 1),
    ((1, 8, 9, 7), 4, [4, 4], [2, 2], [ONE, ONE], [1, 1], 1),
    ((1, 5, 9, 9), 6, [2, 2], [2, 2], [NONE, NONE], [1, 1], 1),
    ((1, 4, 9, 10), 6, [3, 3], [1, 1], [(2, 2), (2, 2)], [2, 2], 1),
    ((1, 4, 11, 10), 6, [3, 2], [2, 3], [(2, 1), ONE], [2, 3], 2),
    ((1, 4, 11, 12), 4, [3, 3], [2, 4], [ONE, ONE], [2, 2], 1),
    ((1, 3, 7, 7), 4, [1, 1], [3, 2], [NONE, NONE], [1, 1], 1),
    ((3, 17, 4, 5), 32, [1, 1], [1, 1], [NONE, NONE], [1, 1], 1),
    ((1, 3, 8, 8), 4, [3, 3], [1, 1], [(-1, -2), (-1, 1)], [1, 1], 1),
    ((1, 3, 5, 6), 4, [3, 3], [1, 1], [(4, 3), (3, 4)], [1, 1], 1),
    ((2, 8, 6, 5), 12, [3, 3], [1, 1], [ONE, ONE], [1, 1], 4),
    ((2, 32, 5, 5), 64, [3, 3], [1, 1], [ONE, ONE], [1, 1], 2),
    ((1, 33, 6, 7), 33, [3, 3], [1, 1], [ONE, ONE], [1, 1], 33),
    ((2, 6, 7, 8), 6, [3, 3], [2, 2], [ONE, ONE], [1, 1], 6),
    ((2, 3, 6, 7), 6, [3, 3], [1, 2], [ONE, ONE], [1, 1], 3),
    ((1, 2, 5, 6, 7), 17, [3, 3, 3], [1, 1, 1], [ONE, ONE, ONE], [1, 1, 1], 1),
    ((2, 3, 5, 4, 6), 4, [2, 3, 2], [2, 1, 2], [NONE, ONE, ONE], [1, 2, 1], 1),
    ((1, 300, 3, 4), 3, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),  # blocks of taps
    ((1, 1100, 2, 3), 2, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),  # parts of a run of taps
    ((0, 3, 4, 4), 5, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((2, 0, 4, 4), 5, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((2, 3, 4, 4), 0, [3, 3], [1, 1], [ONE, ONE], [1, 1], 1),
    ((1, 3, 0, 4), 5, [2, 2], [1, 1], [ONE, ONE], [1, 1], 1),
]
FORWARD = {1: kernels.conv1d, 2: kernels.conv2d, 3: kernels.conv3d}
TRANSPOSE = {
    1: kernels.conv_transpose1d,
    2: kernels.conv_transpose2d,
    3: kernels.conv_transpose3d,
}
CASE = "shape,outputs,kernel,stride,padding,dilation,groups"


def integers(rng, shape, dtype):
    """Values whose products and sums are exact in float32: results must be exact too."""
    return rng.integers(-4, 5, shape).astype(dtype)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(CASE, CASES)
def test_small_integers_are_exact(
    isa, rng, shape, outputs, kernel, stride, padding, dilation, groups, dtype, layout
):
    x = layout(integers(rng, shape, dtype))
    weight = integers(rng, (outputs, shape[1] // groups, *kernel), dtype)
    bias = integers(rng, outputs, dtype)
    window = (stride, padding, dilation, groups)
    expected = reference.conv(x, weight, bias, *window)
    dy = layout(integers(rng, expected.shape, dtype))
    copies = x.copy(), weight.copy(), dy.copy()

    forward = FORWARD[len(shape) - 2]
    y = forward(x, weight, bias, *window, algorithm="direct")
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)
    y = forward(x, weight, None, *window, activation="relu", algorithm="direct")
    np.testing.assert_array_equal(y, np.maximum(reference.conv(x, weight, None, *window), 0))
    dx = kernels.conv_backward_input(dy, weight, shape, *window, algorithm="direct")
    np.testing.assert_array_equal(dx, reference.conv_backward_input(dy, weight, shape, *window))
    dweight = kernels.conv_backward_weight(dy, x, weight.shape, *window, algorithm="direct")
    expected = reference.conv_backward_weight(dy, x, weight.shape, *window)
    np.testing.assert_array_equal(dweight, expected)
    for now, before in zip((x, weight, dy), copies, strict=True):
        np.testing.assert_array_equal(now, before)


# x shape, output channels per group, kernel, stride, padding, output_padding, groups, dilation
TRANSPOSE_CASES = [
    ((2, 3, 5), 4, [3], [2], [ONE], [1], 1, [1]),
    ((1, 17, 5, 6), 16, [2, 2], [2, 2], [NONE, NONE], [0, 0], 1, [1, 1]),
    ((1, 4, 5, 4), 3, [4, 4], [2, 2], [ONE, ONE], [0, 1], 1, [1, 1]),
    ((2, 4, 3, 4), 2, [3, 3], [1, 1], [ONE, ONE], [0, 0], 2, [1, 1]),
    ((1, 4, 4, 5), 2, [2, 1], [3, 4], [NONE, (1, 0)], [2, 1], 1, [1, 1]),
    ((1, 6, 4, 5), 1, [3, 3], [2, 2], [ONE, ONE], [1, 1], 6, [1, 1]),
    ((1, 3, 4, 5), 2, [3, 3], [2, 2], [(-1, 1), ONE], [0, 0], 1, [2, 3]),
    ((1, 2, 3, 4, 3), 3, [2, 2, 2], [2, 2, 2], [NONE] * 3, [0, 0, 0], 1, [1, 1, 1]),
    ((0, 2, 3, 4), 3, [2, 2], [2, 2], [NONE, NONE], [0, 0], 1, [1, 1]),
]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", TRANSPOSE_CASES)
def test_transposed(isa, rng, case, dtype, layout):
    shape, outputs, kernel, stride, padding, output_padding, groups, dilation = case
    x = layout(integers(rng, shape, dtype))
    weight = integers(rng, (shape[1], outputs, *kernel), dtype)
    bias = integers(rng, outputs * groups, dtype)
    options = (stride, padding, output_padding, groups, dilation)
    y = TRANSPOSE[len(shape) - 2](x, weight, bias, *options, activation="relu")
    expected = reference.conv_transpose(x, weight, bias, *options)
    np.testing.assert_array_equal(y, np.maximum(expected, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_errors_are_small(isa, rng, dtype):
    # A result is a sum of 1350 products in fixed order: its error stays within a few units of the sum
    # of their magnitudes. 4.2 was seen, in float64 with the oracle's own error in it.
    x = rng.standard_normal((1, 150, 7, 9)).astype(dtype)
    weight = rng.standard_normal((20, 150, 3, 3)).astype(dtype)
    dy = rng.standard_normal((1, 20, 7, 9)).astype(dtype)
    window = ([1, 1], [ONE, ONE], [1, 1], 1)
    unit = np.finfo(dtype).eps / 2
    for function, oracle, arguments in [
        (kernels.conv2d, reference.conv, (x, weight, None)),
        (kernels.conv_backward_input, reference.conv_backward_input, (dy, weight, x.shape)),
        (kernels.conv_backward_weight, reference.conv_backward_weight, (dy, x, weight.shape)),
    ]:
        magnitudes = [np.abs(a) if isinstance(a, np.ndarray) else a for a in arguments]
        error = np.abs(function(*arguments, *window, algorithm="direct") - oracle(*arguments, *window))
        assert np.all(error <= 8 * unit * oracle(*magnitudes, *window))


def test_padding_is_accepted_in_every_form(rng):
    x, weight = integers(rng, (1, 2, 6, 7), np.float32), integers(rng, (3, 2, 3, 4), np.float32)

    def expected(padding):
        return reference.conv(x, weight, None, [1, 1], padding, [1, 1], 1)

    for given, pairs in [
        (1, [ONE, ONE]),
        ((0, 2), [NONE, (2, 2)]),
        (((1, 0), (0, 2)), [(1, 0), (0, 2)]),
        ("valid", [NONE, NONE]),
        ("same", [ONE, (1, 2)]),
    ]:
        np.testing.assert_array_equal(kernels.conv2d(x, weight, padding=given), expected(pairs))


def test_result_has_the_memory_format_of_x(rng):
    x, weight = rng.standard_normal((2, 3, 8, 8)), rng.standard_normal((5, 3, 3, 3))
    y = kernels.conv2d(x, weight)
    last = kernels.conv2d(channels_last(x), weight)
    assert y.flags.c_contiguous and last.strides[1] == 8
    np.testing.assert_array_equal(y, last)
    for out in (np.empty_like(y), channels_last(np.empty_like(y))):
        kernels.conv2d(x, weight, out=out)
        np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("groups", [1, 2, 24])
def test_a_sample_has_the_same_bits_alone_and_in_a_batch(isa, rng, groups):
    x = rng.standard_normal((3, 24, 9, 17)).astype(np.float32)
    weight = rng.standard_normal((24, 24 // groups, 3, 3)).astype(np.float32)
    for layout in (np.ascontiguousarray, channels_last):
        for function in (kernels.conv2d, kernels.conv_transpose2d):
            together = function(layout(x), weight, groups=groups, padding=1)
            for i in range(3):
                alone = function(layout(x[i : i + 1]), weight, groups=groups, padding=1)
                np.testing.assert_array_equal(alone[0], together[i])


def test_the_same_bits_at_any_number_of_threads(isa, rng):
    before = medkern.get_num_threads()
    x = channels_last(rng.standard_normal((2, 20, 64, 70)).astype(np.float32))
    weight = rng.standard_normal((20, 20, 3, 3)).astype(np.float32)
    pointwise = rng.standard_normal((20, 20, 1, 1)).astype(np.float32)
    deep = rng.standard_normal((20, 1, 3, 3)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        results.append(
            [
                kernels.conv2d(x, weight, padding=1),
                kernels.conv2d(x, deep, padding=1, groups=20),
                kernels.conv_backward_input(x, weight, x.shape, padding=1),
                kernels.conv_transpose2d(x, weight, stride=2),
                kernels.conv_backward_weight(x, x, weight.shape, padding=1),
                kernels.conv_backward_weight(x, x, pointwise.shape),
            ]
        )
    medkern.set_num_threads(before)
    for other in results[1:]:
        for expected, y in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(y, expected)


def test_weight_gradient_over_many_pixels(isa, rng):
    # Several chunks, rows longer than a unit, and rows that a 1x1 kernel makes one of.
    for shape, kernel, padding in [((1, 2, 4, 1100), 3, 1), ((3, 2, 70, 70), 1, 0), ((2, 3, 90, 60), 3, 1)]:
        x = channels_last(integers(rng, shape, np.float32))
        dy = channels_last(integers(rng, (shape[0], 16, *shape[2:]), np.float32))
        weight_shape = (16, shape[1], kernel, kernel)
        dweight = kernels.conv_backward_weight(dy, x, weight_shape, padding=padding)
        window = ([1, 1], [(padding, padding)] * 2, [1, 1], 1)
        expected = reference.conv_backward_weight(dy, x, weight_shape, *window)
        np.testing.assert_array_equal(dweight, expected)


def test_nan_and_infinity_pass(isa):
    weight = np.ones((20, 3, 3, 3), np.float32)
    for layout in FORMATS:
        x = np.zeros((1, 3, 8, 20), np.float32)
        x[0, 1, 2, 3], x[0, 0, 5, 15] = np.nan, np.inf
        y = kernels.conv2d(layout(x), weight, padding=1, activation="relu")
        assert np.isnan(y[0, :, 1:4, 2:5]).all() and np.isnan(y).sum() == 20 * 9
        assert (y[0, :, 4:7, 14:17] == np.inf).all() and np.isinf(y).sum() == 20 * 9


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


X, W = zeros(1, 3, 8, 8), zeros(4, 3, 3, 3)


@pytest.mark.parametrize(
    "arguments,options,error,message",
    [
        ((X[0], W), {}, ValueError, "conv2d: x must have 4 dimensions, got 3"),
        ((X, W[0]), {}, ValueError, "conv2d: weight must have 4 dimensions, got 3"),
        (
            (X, zeros(8, 4, 3, 3)),
            {},
            ValueError,
            r"conv2d: weight expects 4 input channels, got x with 3 \(x \(1, 3, 8, 8\), "
            r"weight \(8, 4, 3, 3\), groups 1\)",
        ),
        ((X, W), dict(groups=3), ValueError, "groups 3 must divide the 4 channels"),
        ((X, W), dict(groups=0), ValueError, "groups must be from 1 to"),
        ((X, W), dict(groups=2), ValueError, "weight expects 6 input channels, got x with 3"),
        ((X, W, zeros(3)), {}, ValueError, r"bias must have shape \(4,\), got \(3,\)"),
        ((X, W, zeros(4, dtype=np.float64)), {}, TypeError, "bias must be float32 as x is"),
        ((X, W.astype(np.float64)), {}, TypeError, "weight must be float32 as x is, got float64"),
        ((X.astype(np.int64), W), {}, TypeError, "x must be float32 or float64, got int64"),
        (("x", W), {}, TypeError, "x must be an array"),
        ((X, W), dict(stride=0), ValueError, "stride must be"),
        ((X, W), dict(stride=(1, 2, 3)), TypeError, "stride must be an int or a sequence of 2"),
        ((X, W), dict(dilation=0), ValueError, "dilation must be"),
        ((X, W), dict(dilation=4), ValueError, "kernel_size 3 with dilation 4 spans 9"),
        ((X, W), dict(padding=-3), ValueError, "x with its padding has only 2"),
        ((X, W), dict(padding="full"), ValueError, "padding must be 'same' or 'valid'"),
        ((X, W), dict(padding="same", stride=2), ValueError, "needs stride 1"),
        ((X, W), dict(padding=2**31 - 1), MemoryError, "overflow"),
        ((X, zeros(4, 3, 0, 3)), {}, ValueError, "kernel_size must be"),
        ((X, W), dict(activation="gelu"), ValueError, "activation must be None or 'relu', got 'gelu'"),
        ((X, W), dict(out=zeros(1, 4, 8, 8)), ValueError, r"y must have shape \(1, 4, 6, 6\)"),
        ((X, W), dict(out=zeros(1, 4, 6, 6, dtype=np.float64)), TypeError, "y must be float32"),
        (
            (X, W),
            dict(out=zeros(1, 4, 6, 12)[..., ::2]),
            ValueError,
            "y must be contiguous, channels-last or",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        kernels.conv2d(*arguments, **options)


@pytest.mark.parametrize(
    "arguments,options,error,message",
    [
        ((X, W), {}, ValueError, "conv_transpose2d: weight expects 4 input channels, got x with 3"),
        (
            (X, zeros(3, 4, 3, 3)),
            dict(output_padding=1),
            ValueError,
            "output_padding must be from 0 to 0, got 1",
        ),
        (
            (X, zeros(3, 4, 3, 3)),
            dict(output_padding=-1, stride=2),
            ValueError,
            "output_padding must be from 0 to 1, got -1",
        ),
        ((X, zeros(3, 4, 3, 3)), dict(padding=5), ValueError, "padding 5 and 5 leaves nothing"),
        ((X, zeros(3, 4, 3, 3), zeros(3)), {}, ValueError, r"bias must have shape \(4,\)"),
        ((X, zeros(3, 4, 3, 3)), dict(groups=2), ValueError, "groups 2 must divide the 3 channels"),
        ((zeros(1, 3, 0, 4), zeros(3, 4, 3, 3)), {}, ValueError, "at least one position"),
        ((X, zeros(3, 4, 3, 3)), dict(stride=2**31 - 1), MemoryError, "overflow"),
    ],
)
def test_bad_transposed_arguments_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        kernels.conv_transpose2d(*arguments, **options)


@pytest.mark.parametrize(
    "call,error,message",
    [
        (
            lambda: kernels.conv_backward_input(zeros(1, 4, 5, 6), W, (1, 3, 8, 8)),
            ValueError,
            r"dy must have shape \(1, 4, 6, 6\), got \(1, 4, 5, 6\)",
        ),
        (
            lambda: kernels.conv_backward_input(zeros(1, 5, 6, 6), W, (1, 3, 8, 8)),
            ValueError,
            "weight expects 4 output channels, got dy with 5",
        ),
        (
            lambda: kernels.conv_backward_input(zeros(1, 4, 6, 6), W, (1, 2, 8, 8)),
            ValueError,
            "weight expects 3 input channels, got dx with 2",
        ),
        (
            lambda: kernels.conv_backward_input(zeros(1, 4, 6, 6), W, (1, 3)),
            ValueError,
            "spatial_rank must be from 1 to 3, got 0",
        ),
        (
            lambda: kernels.conv_backward_input(zeros(1, 4, 6, 6), W, (1, -3, 8, 8)),
            ValueError,
            "negative size",
        ),
        (
            lambda: kernels.conv_backward_weight(zeros(1, 4, 6, 6), X, (4, 3, 5, 5)),
            ValueError,
            r"dy must have shape \(1, 4, 4, 4\)",
        ),
        (
            lambda: kernels.conv_backward_weight(zeros(1, 4, 6, 6), X, (4, 2, 3, 3)),
            ValueError,
            "dweight expects 2 input channels, got x with 3",
        ),
        (
            lambda: kernels.conv_backward_weight(zeros(2, 4, 6, 6), X, (4, 3, 3, 3)),
            ValueError,
            r"dy must have shape \(1, 4, 6, 6\)",
        ),
        (
            lambda: kernels.conv_backward_weight(
                zeros(1, 4, 6, 6), X, (4, 3, 3, 3), out=channels_last(zeros(4, 3, 3, 3))
            ),
            ValueError,
            "dweight must be contiguous",
        ),
        (
            lambda: kernels.conv_backward_weight(zeros(1, 4, 6, 6, dtype=np.float64), X, W.shape),
            TypeError,
            "x must be float64 as dy is",
        ),
    ],
)
def test_bad_backward_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_sharing_memory_with_the_result_is_refused():
    with pytest.raises(ValueError, match="y must not share memory with x"):
        kernels.conv2d(X, zeros(3, 3, 1, 1), out=X)


def test_strides_far_larger_than_the_kernel_cost_nothing():
    weight = zeros(3, 1, 2)
    y = kernels.conv_transpose1d(zeros(1, 3, 1), weight, stride=2**31 - 1, padding=0, dilation=5)
    assert y.shape == (1, 1, 6)
    with pytest.raises(MemoryError):
        kernels.conv_transpose1d(zeros(1, 3, 2**20), weight, stride=2**31 - 1, dilation=2**31 - 1)
    with pytest.raises(MemoryError, match="overflow"):
        kernels.conv2d(zeros(1, 0, 1, 1), zeros(0, 0, 2**30, 2**30), padding=2**30)
