import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import resample as reference

# Shape of x, sizes of y: few and many channels, one more than a vector of them, more outputs than a block and
# not a multiple of it, an axis of one element, more rows than outputs read, nothing at all.
CASES = [
    ((2, 3, 5, 7), (6, 9)),
    ((1, 1, 4, 3), (17, 19)),
    ((2, 17, 6, 5), (5, 7)),
    ((1, 33, 3, 9), (4, 2)),
    ((1, 8, 1, 6), (3, 3)),
    ((2, 2, 3, 4, 5), (4, 3, 5)),
    ((1, 18, 2, 5, 3), (3, 4, 2)),
    ((1, 16, 3, 1, 4), (2, 2, 2)),
    ((0, 3, 4, 4), (2, 2)),
    ((2, 0, 4, 4), (2, 2)),
    ((1, 9, 4, 4), (0, 2)),
]
PADDINGS = ["zeros", "constant", "border", "reflection", "wrap"]


def grid_of(rng, shape, size, align_corners, dtype):
    """Places from beyond one edge to beyond the other, away from where neighbors change."""
    sizes = np.array(shape[2:][::-1])
    at = rng.integers(-sizes - 2, 2 * sizes + 2, (shape[0], *size, len(sizes)))
    at = at + rng.choice([0.125, 0.25, 0.375, 0.625, 0.75, 0.875], at.shape)
    scale = np.where(sizes > 1, (sizes - 1) / 2, 1) if align_corners else sizes / 2
    return ((at - (sizes - 1) / 2) / scale).astype(dtype)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_grid_sample_and_gradients(isa, rng, mode, padding, align_corners, dtype, layout):
    value = 1.75 if padding == "constant" else 0.0
    rule = dict(mode=mode, padding_mode=padding, align_corners=align_corners)
    unit = float(np.finfo(dtype).eps)
    for shape, size in CASES:
        x = layout(rng.standard_normal(shape).astype(dtype))
        grid = grid_of(rng, shape, size, align_corners, dtype)
        before = x.copy(), grid.copy()
        at, scale = reference.places_of_grid(shape, grid, align_corners)
        weights, slopes = reference.matrix_and_slopes(shape, at, mode, padding, align_corners)
        y = kernels.grid_sample(x, grid, value=value, **rule)
        expected = reference.sample(x, weights, value, size)
        assert y.dtype == dtype and y.shape == expected.shape
        # A coordinate is rounded by some units of what it is, and y changes with it by at most the
        # difference of two elements; 8 products and sums beside.
        slack = 16 * (2 + 4 * max(shape[2:])) * unit
        most = max(1.0, np.abs(x).max(initial=0), value)
        assert (np.abs(y - expected) <= slack * most).all()

        dy = layout(rng.standard_normal(y.shape).astype(dtype))
        dx = kernels.grid_sample_backward_input(dy, grid, shape, **rule)
        expected = reference.backward_input(dy, weights, shape)
        bound = slack * reference.backward_input(np.abs(dy), weights > 0, shape)
        assert dx.shape == shape and (np.abs(dx - expected) <= bound).all()

        dgrid = kernels.grid_sample_backward_grid(dy, x, grid, value=value, **rule)
        expected = reference.backward_grid(dy, x, slopes, scale, value, grid.shape)
        bound = slack * np.abs(dy).sum(1)[..., None] * most * max(shape[2:])
        assert dgrid.shape == grid.shape and (np.abs(dgrid - expected) <= bound).all()
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(grid, before[1])


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("spline", [None, "linear", "cubic"])
def test_affine_resample(isa, rng, spline, mode, padding, dtype, layout):
    value = -2.5 if padding == "constant" else 0.0
    for shape, size in [((2, 1, 9, 11), (8, 20)), ((1, 17, 7, 6), (7, 6)), ((2, 2, 4, 5, 6), (5, 4, 7))]:
        rank = len(size)
        x = layout(rng.standard_normal(shape).astype(dtype))
        matrix = np.concatenate([np.eye(rank), np.zeros((rank, 1))], 1) + rng.uniform(
            -0.4, 0.4, (shape[0], rank, rank + 1)
        )
        field = None
        if spline is not None:
            field = (2 * rng.standard_normal((shape[0], rank, *(4, 7, 5)[:rank]))).astype(dtype)
        at = reference.places_of_map(size, matrix, field, spline == "cubic")
        weights, _ = reference.matrix_and_slopes(shape, at, mode, padding, ties_up=True)
        expected = reference.sample(x, weights, value, size)
        y = kernels.affine_resample(x, matrix, size, field, spline or "cubic", mode, padding, value)
        unit = float(np.finfo(dtype).eps)
        wrong = np.abs(y - expected) > 16 * (8 + 4 * max(shape[2:])) * unit * max(2.5, np.abs(x).max())
        if mode == "nearest":  # where a rounded coordinate lies on the other side of a half
            halves = np.abs((at - np.floor(at)) - 0.5).min(0).reshape(shape[0], 1, *size)
            wrong &= halves > 1e-4
        assert y.dtype == dtype and not wrong.any()


def test_turns_by_right_angles_and_whole_steps_are_exact(isa, rng):
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    for mode in ("nearest", "linear"):
        same = kernels.affine_resample(x, np.array([[[1.0, 0, 0], [0, 1, 0]]]), mode=mode)
        np.testing.assert_array_equal(same, x)
        turned = kernels.affine_resample(x, np.array([[[0, 1.0, 0], [-1, 0, 7]]]), mode=mode)
        np.testing.assert_array_equal(turned, np.rot90(x, 1, (2, 3)))
        moved = kernels.affine_resample(
            x, np.array([[[1.0, 0, 2], [0, 1, -1]]]), mode=mode, padding_mode="wrap"
        )
        np.testing.assert_array_equal(moved, np.roll(x, (-2, 1), (2, 3)))
    half = kernels.affine_resample(x, np.array([[[1.0, 0, 0], [0, 1, 0.5]]]), mode="nearest")
    np.testing.assert_array_equal(half[..., :-1], x[..., 1:])  # halves go up, all of them


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("shape", [(2, 2, 20, 21), (2, 24, 20, 21), (1, 3, 7, 8, 9)])
def test_any_number_of_threads_and_samples_give_the_same_bits(isa, rng, layout, shape):
    x = layout(rng.standard_normal(shape).astype(np.float32))
    grid = rng.uniform(-1.2, 1.2, (shape[0], *shape[2:], len(shape) - 2)).astype(np.float32)
    results = []
    before = medkern.get_num_threads()
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        y = kernels.grid_sample(x, grid)
        dx = kernels.grid_sample_backward_input(y, grid, shape)
        dgrid = kernels.grid_sample_backward_grid(y, x, grid)
        results.append((y.tobytes(), dx.tobytes(), dgrid.tobytes()))
    medkern.set_num_threads(before)
    assert results[0] == results[1] == results[2]
    np.testing.assert_array_equal(kernels.grid_sample(x[-1:], grid[-1:]), y[-1:])
    last = kernels.grid_sample_backward_input(y[-1:], grid[-1:], (1, *shape[1:]))
    np.testing.assert_array_equal(last, dx[-1:])


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("channels", [2, 20])
def test_nan_and_infinity_pass(isa, layout, channels):
    x = np.ones((1, channels, 3, 3), np.float32)
    x[0, :, 0, 0], x[0, :, 2, 2] = np.nan, np.inf
    centers = np.stack(np.meshgrid([-1.0, 0, 1], [-1.0, 0, 1]), -1)[None].astype(np.float32)
    y = kernels.grid_sample(layout(x), centers, align_corners=True)
    np.testing.assert_array_equal(y, x)  # neighbors of weight 0 are not read
    far = kernels.grid_sample(layout(x), 5 * centers, align_corners=True)
    assert (far[0, :, 0, 0] == 0).all()
    centers[0, 1, 1] = np.nan
    assert np.isnan(kernels.grid_sample(layout(x), centers, align_corners=True)[0, :, 1, 1]).all()
    dy = np.ones_like(x)
    dy[0, :, 0, 1], dy[0, :, 1, 0], dy[0, :, 2, 0] = np.nan, np.inf, -np.inf
    centers[0, 1, 1] = 0
    dx = kernels.grid_sample_backward_input(layout(dy), centers, x.shape, align_corners=True)
    np.testing.assert_array_equal(dx, dy)
    centers[0, 2, 0] = centers[0, 1, 0]  # both infinities
    dx = kernels.grid_sample_backward_input(layout(dy), centers, x.shape, align_corners=True)
    assert np.isnan(dx[0, :, 1, 0]).all() and (dx[0, :, 2, 0] == 0).all()
    for wild in (np.inf, -np.inf, 3e38, -3e38):
        for padding in PADDINGS:
            grid = np.full((1, 2, 2, 2), wild, np.float32)
            kernels.grid_sample(layout(x), grid, padding_mode=padding)
            kernels.grid_sample_backward_input(
                layout(dy[..., :2, :2].copy()), grid, x.shape, padding_mode=padding
            )


def test_out_and_memory_format(rng):
    x = rng.standard_normal((2, 9, 6, 6))
    grid = rng.uniform(-1, 1, (2, 4, 5, 2))
    y = kernels.grid_sample(x, grid)
    for out in (np.empty((2, 9, 4, 5)), channels_last(np.empty((2, 9, 4, 5)))):
        kernels.grid_sample(x, grid, out=out)
        np.testing.assert_array_equal(out, y)
    assert kernels.grid_sample(channels_last(x), grid).strides[1] == 8


X, GRID = np.zeros((1, 1, 4, 4), np.float32), np.zeros((1, 3, 3, 2), np.float32)
MATRIX = np.array([[[1.0, 0, 0], [0, 1, 0]]])


@pytest.mark.parametrize(
    "call,error,message",
    [
        (lambda: kernels.grid_sample(X[0], GRID), ValueError, "x must have 4 or 5 dimensions, got 3"),
        (lambda: kernels.grid_sample(X.astype(int), GRID), TypeError, "x must be float32 or float64"),
        (lambda: kernels.grid_sample(X, GRID.astype(float)), TypeError, "grid must be float32"),
        (
            lambda: kernels.grid_sample(X, GRID[..., :1]),
            ValueError,
            r"grid must be \(1, sizes of the result, 2\)",
        ),
        (lambda: kernels.grid_sample(X, GRID[0]), ValueError, "grid must have 4 dimensions"),
        (lambda: kernels.grid_sample(X[..., :0], GRID), ValueError, "the spatial size of x must be from 1"),
        (
            lambda: kernels.grid_sample(X, GRID, mode="bicubic"),
            ValueError,
            "mode must be 'nearest', 'linear'",
        ),
        (
            lambda: kernels.grid_sample(X, GRID, padding_mode="edge"),
            ValueError,
            "padding_mode must be 'zeros'",
        ),
        (
            lambda: kernels.grid_sample(X, GRID, value=1.0),
            ValueError,
            "a value goes with padding_mode 'constant'",
        ),
        (
            lambda: kernels.grid_sample(X, GRID, padding_mode="constant", value=np.nan),
            ValueError,
            "value must be finite, got nan",
        ),
        (lambda: kernels.grid_sample(X, GRID, out=X), ValueError, "y must have shape"),
        (
            lambda: kernels.grid_sample_backward_input(X, GRID, (1, 1, 5, 5)),
            ValueError,
            r"y must have shape \(1, 1, 3, 3\)|dy must have shape \(1, 1, 3, 3\)",
        ),
        (
            lambda: kernels.grid_sample_backward_grid(X, X, GRID),
            ValueError,
            r"dy must have shape \(1, 1, 3, 3\)",
        ),
        (lambda: kernels.affine_resample(X, MATRIX[0]), ValueError, "matrix must have"),
        (lambda: kernels.affine_resample(X, MATRIX.astype(np.float32)), TypeError, "matrix must be float64"),
        (
            lambda: kernels.affine_resample(X, MATRIX, 0),
            ValueError,
            "size must be from 1 to 2147483647, got 0",
        ),
        (
            lambda: kernels.affine_resample(X, MATRIX, (4, 4, 4)),
            TypeError,
            "size must be an int or a sequence of 2",
        ),
        (
            lambda: kernels.affine_resample(X, MATRIX, spline="quintic"),
            ValueError,
            "spline must be 'cubic' or",
        ),
        (
            lambda: kernels.affine_resample(X, MATRIX, displacement=X),
            ValueError,
            r"displacement must be \(1, 2, control points\)",
        ),
        (
            lambda: kernels.affine_resample(X, MATRIX, displacement=np.zeros((1, 2, 3, 4), np.float32)),
            ValueError,
            "control points of a cubic spline must be from 4 to 256, got 3",
        ),
        (lambda: kernels.affine_resample(X, MATRIX, out=X), ValueError, "share memory"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
