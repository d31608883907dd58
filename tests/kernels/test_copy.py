import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import _C, kernels
from reference import copy as reference

TYPES = ["float32", "float64", "int32", "int64", "uint8", "bool"]


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_types_are_converted(isa, rng, dtype, to):
    x = rng.integers(0, 200, (3, 5)).astype(dtype)
    y = kernels.copy(x, dtype=to)
    assert y.dtype == to
    np.testing.assert_array_equal(y, x.astype(to))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_become_the_nearest_integers(isa, dtype):
    x = np.array([0.9, -0.9, 2.5, -2.5, np.nan, np.inf, -np.inf, 1e30, -1e30, 300, -5], dtype)
    for to, low, high in [("int32", -(2**31), 2**31 - 1), ("int64", -(2**63), 2**63 - 1), ("uint8", 0, 255)]:
        expected = [0, 0, 2, max(-2, low), 0, high, low, high, low, min(300, high), max(-5, low)]
        np.testing.assert_array_equal(kernels.copy(x, dtype=to), np.array(expected, to))


def test_bools_compare_with_zero(isa):
    x = np.array([0.0, -0.0, 0.3, np.nan, 256.0], np.float32)
    np.testing.assert_array_equal(kernels.copy(x, dtype=bool), [False, False, True, True, True])
    np.testing.assert_array_equal(kernels.copy(np.array([0, 256]), dtype=bool), [False, True])


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 17, 4, 5), (1, 16, 33, 18), (2, 5, 3, 4, 6), (2, 0, 3, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_layouts(isa, rng, shape, layout, dtype):
    x = layout(rng.integers(0, 200, shape).astype(dtype))
    for wanted in (False, True):
        y = kernels.copy(x, channels_last=wanted)
        np.testing.assert_array_equal(y, x)
        if x.size and wanted:
            assert channels_last(x).strides == y.strides
        elif x.size:
            assert y.flags.c_contiguous


def test_any_strides_and_broadcasting(isa, rng):
    x = rng.standard_normal((4, 6, 5)).astype(np.float32)
    np.testing.assert_array_equal(kernels.copy(x.transpose(2, 0, 1)), x.transpose(2, 0, 1))
    np.testing.assert_array_equal(kernels.copy(x[::2, 1::3]), x[::2, 1::3])
    np.testing.assert_array_equal(kernels.copy(x[::-1]), x[::-1])
    out = np.zeros((2, 4, 6, 5), np.float64)
    kernels.copy(x[:, :1], out=out)
    np.testing.assert_array_equal(out, np.broadcast_to(x[:, :1], out.shape))
    assert kernels.copy(np.float32(3)).shape == ()


def test_bits_of_nan_and_denormals_survive(isa):
    bits = np.array([0x7FC00123, 0x00000001, 0x80000000], np.uint32)
    np.testing.assert_array_equal(kernels.copy(bits.view(np.float32)).view(np.uint32), bits)


def test_full():
    y = np.asarray(kernels.full((2, 3, 4), 2.5, channels_last=True))
    assert y.dtype == np.float32 and (y == 2.5).all() and y.strides[1] == 4
    with pytest.raises(ValueError, match="negative"):
        kernels.full((2, -3), 0)
    with pytest.raises(MemoryError):
        kernels.full((2**40, 2**40), 0)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_concat(isa, rng, dim, layout):
    shapes = [[2, 3, 4, 5] for _ in range(3)]
    shapes[1][dim], shapes[2][dim] = 16, 0
    arrays = [layout(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]
    np.testing.assert_array_equal(kernels.concat(arrays, dim), np.concatenate(arrays, dim))


def test_concat_names_what_is_wrong():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="tensors must not be empty"):
        kernels.concat([])
    with pytest.raises(ValueError, match="dim must be from -2 to 1, got 2"):
        kernels.concat([x], 2)
    with pytest.raises(ValueError, match=r"tensors\[1\] must have size 3 in dimension 1"):
        kernels.concat([x, x[:, :2]])
    with pytest.raises(TypeError, match=r"tensors\[1\] must be float32"):
        kernels.concat([x, x.astype(np.float64)])
    with pytest.raises(ValueError, match=r"tensors\[1\] must have 2 dimensions, got 1"):
        kernels.concat([x, x[0]])
    with pytest.raises(ValueError, match="share memory"):
        kernels.concat([x], out=x)


PADS = [
    ((5,), (2, 1), "constant"),
    ((5,), (2, 1), "reflect"),
    ((2, 3, 5), (4, 5), "circular"),
    ((2, 3, 5), (7, 0, 1, 2), "replicate"),
    ((1, 2, 4, 5), (1, 2, 3, 1), "reflect"),
    ((2, 2, 4, 5), (-1, 2, 3, -2), "constant"),
    ((1, 1, 3, 3, 4), (1, 1, 1, 1, 2, 2), "reflect"),
    ((0, 3, 4), (1, 1), "replicate"),
    ((2, 3, 4), (), "constant"),
    ((), (), "constant"),
]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,padding,mode", PADS)
def test_pad(isa, rng, shape, padding, mode, dtype, layout):
    if len(shape) < 3:
        layout = np.ascontiguousarray
    x = rng.integers(-8, 9, shape).astype(dtype)
    x = layout(x) if shape else x
    y = kernels.pad(x, padding, mode, 1.5)
    np.testing.assert_array_equal(y, reference.pad(x, padding, mode, 1.5))
    dy = rng.integers(-8, 9, y.shape).astype(dtype)  # sums of small integers are exact
    dx = kernels.pad_backward(dy, shape, padding, mode)
    np.testing.assert_array_equal(dx, reference.pad_backward(dy, shape, padding, mode))


@pytest.mark.parametrize(
    "padding,mode,message",
    [
        ((1,), "constant", "padding must have a pair for at most 2 axes, got 1 numbers"),
        ((1,) * 6, "constant", "padding must have a pair for at most 2 axes, got 6 numbers"),
        ((3, 0), "reflect", "padding of dimension 1 must be from 0 to 2 in this mode, got 3"),
        ((4, 0), "circular", "padding of dimension 1 must be from 0 to 3 in this mode, got 4"),
        ((-1, 0), "replicate", "must be .*0.* in this mode, got -1"),
        ((-2, -2), "constant", "crops more than the size 3"),
        ((1, 1), "mirror", "mode must be 'constant', 'reflect', 'replicate' or 'circular', got 'mirror'"),
    ],
)
def test_pad_names_what_is_wrong(padding, mode, message):
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=message):
        kernels.pad(x, padding, mode)
    with pytest.raises(ValueError, match=message):
        kernels.pad_backward(np.zeros((9, 9), np.float32)[:2, :3], (2, 3), padding, mode)


def test_bad_copies_are_named():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        kernels.pad(x.astype(np.int64), (1, 1))
    with pytest.raises(MemoryError):
        kernels.pad(x, (2**62, 2**62))
    with pytest.raises(ValueError, match="does not broadcast"):
        kernels.copy(x, out=np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="share memory"):
        kernels.copy(x, out=x[:, ::-1][:, ::-1])
    with pytest.raises(TypeError):
        kernels.copy(x, dtype="int8")
    with pytest.raises(ValueError, match="reaches beyond"):
        _C.Array(x).with_layout((3,), (1,), 4)
    with pytest.raises(ValueError, match="share memory"):
        _C.fill(_C.Array(x).with_layout((2, 2), (1, 1)), 0.0)


def test_same_bits_at_any_thread_count(rng):
    x = channels_last(rng.standard_normal((2, 19, 40, 40)).astype(np.float32))
    before = medkern.get_num_threads()
    results = []
    for count in (1, 2, 3):
        medkern.set_num_threads(count)
        y = kernels.pad(x, (3, 4, 5, 6), "reflect")
        results.append((kernels.copy(x), y, kernels.pad_backward(y, x.shape, (3, 4, 5, 6), "reflect")))
    medkern.set_num_threads(before)
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)
