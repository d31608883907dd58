"""Arrays between medkern and other libraries."""

import array as python_array
import ctypes
import gc
import weakref

import numpy as np
import pytest

import medkern
from arrays import channels_last
from medkern import _C, kernels

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "bool"]


class OnlyDLPack:
    """An array of a library that speaks DLPack and no buffer protocol."""

    def __init__(self, source):
        self.source = source

    def __dlpack__(self, **options):
        return self.source.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.source.__dlpack_device__()


class OldDLPack(OnlyDLPack):
    """The same from before version 1."""

    def __dlpack__(self, stream=None):
        return self.source.__dlpack__()


@pytest.mark.parametrize("wrap", [lambda x: x, OnlyDLPack, OldDLPack])
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_shares_memory(dtype, wrap):
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    array = _C.Array(wrap(x))
    assert array.shape == (2, 3, 4) and array.strides == (12, 4, 1) and array.dtype == x.dtype
    for back in (np.asarray(array), np.from_dlpack(array)):
        np.testing.assert_array_equal(back, x)
        assert np.shares_memory(back, x)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1), (5, 1, 2)])
def test_shapes_survive(shape):
    x = np.ones(shape, np.float32)
    for array in (_C.Array(x), _C.Array(OnlyDLPack(x))):
        assert np.asarray(array).shape == shape
        assert np.from_dlpack(array).shape == shape
        assert array.size == x.size and array.ndim == x.ndim


def test_memory_formats_are_told_apart():
    x = np.zeros((2, 3, 4, 5), np.float32)
    assert _C.Array(x).is_contiguous and not _C.Array(x).is_channels_last
    y = channels_last(x)
    assert _C.Array(y).is_channels_last and not _C.Array(y).is_contiguous
    assert not _C.Array(x[:, :, ::2]).is_contiguous
    contiguous = _C.Array(y).contiguous()
    assert contiguous.is_contiguous and not np.shares_memory(np.asarray(contiguous), y)


def test_what_an_array_can_not_describe_is_copied():
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(np.asarray(_C.Array(x[::-1])), x[::-1])
    unaligned = np.zeros(13, np.uint8)[1:].view(np.float32)
    unaligned[:] = 7
    np.testing.assert_array_equal(np.asarray(_C.Array(unaligned)), [7, 7, 7])
    fields = np.zeros(3, [("a", np.uint8), ("b", np.float32)])
    fields["b"] = [1, 2, 3]
    np.testing.assert_array_equal(np.asarray(_C.Array(fields["b"])), [1, 2, 3])


def test_such_a_result_array_is_refused():
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="negative strides"):
        kernels.max_pool2d(x, 2, out=np.zeros((1, 1, 2, 2), np.float32)[:, :, ::-1])


def test_other_buffers():
    assert np.asarray(_C.Array(python_array.array("d", [1, 2]))).tolist() == [1, 2]
    assert np.asarray(_C.Array(bytearray(b"ab"))).dtype == np.uint8
    assert np.asarray(_C.Array((ctypes.c_float * 3)(1, 2, 3))).tolist() == [1, 2, 3]
    assert np.asarray(_C.Array(memoryview(np.ones(4)))).tolist() == [1] * 4


@pytest.mark.parametrize(
    "value,message",
    [
        (np.zeros(2, ">f4"), "must be in native byte order, got '>f'"),
        (np.zeros(2, np.complex64), "unsupported element type 'Zf'"),
        (np.zeros(2, np.longdouble), "unsupported element type 'g'"),
        (np.zeros(2, "S3"), "unsupported element type '3s'"),
        (np.zeros(2, [("a", "f4")]), "unsupported element type 'T{"),
        (np.array([None]), "unsupported element type 'O'"),
        (np.zeros(2, "M8[s]"), "can't be viewed as an array"),
        (b"abcd", "must be an array"),
        ([1.0, 2.0], "must be an array .* got list"),
        (None, "must be an array .* got NoneType"),
    ],
)
def test_what_is_no_array_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        _C.Array(value)


def test_kernels_name_a_type_they_do_not_take():
    for dtype in ("float16", "int32", "bool", "uint32"):
        x = np.zeros((1, 1, 4, 4), dtype)
        name = "uint8" if dtype == "bool" else dtype
        with pytest.raises(TypeError, match=f"x must be .*, got {name}"):
            kernels.max_pool2d(x, 2)


def test_nine_dimensions_are_refused():
    with pytest.raises(ValueError, match="at most 8 dimensions, got 9"):
        kernels.max_pool2d(np.zeros((1,) * 9, np.float32), 1)


@pytest.mark.parametrize("wrap", [lambda x: x, OnlyDLPack])
def test_read_only_stays_read_only(wrap):
    x = np.ones((1, 1, 2, 2), np.float32)
    x.flags.writeable = False
    array = _C.Array(wrap(x))
    assert not np.asarray(array).flags.writeable
    assert not np.from_dlpack(array).flags.writeable
    with pytest.raises(BufferError, match="read-only array needs max_version"):
        array.__dlpack__()
    with pytest.raises(ValueError, match="out is read-only"):
        kernels.max_pool2d(np.ones((1, 1, 4, 4), np.float32), 2, out=wrap(x))


def test_dlpack_options():
    array = _C.Array(np.arange(4.0))
    assert array.__dlpack_device__() == (1, 0)
    copied = np.from_dlpack(array, copy=True)
    copied[0] = 9
    assert np.asarray(array)[0] == 0
    with pytest.raises(BufferError, match="on the CPU or a CUDA device only"):
        array.__dlpack__(dl_device=(7, 0))
    with pytest.raises(ValueError, match="stream must be None"):
        array.__dlpack__(stream=1)


def test_an_array_on_another_device_is_refused():
    class OnGPU(OnlyDLPack):
        def __dlpack_device__(self):
            return (7, 0)

    with pytest.raises(medkern.DeviceError, match="x is on DLPack device type 7"):
        kernels.max_pool2d(OnGPU(np.zeros((1, 1, 4, 4), np.float32)), 2)


def test_a_broken_capsule_is_refused():
    class Broken(OnlyDLPack):
        def __dlpack__(self, **options):
            return "capsule"

    with pytest.raises((TypeError, ValueError)):
        _C.Array(Broken(np.zeros(2)))


@pytest.mark.parametrize("wrap", [lambda x: x, OnlyDLPack])
def test_memory_lives_as_long_as_someone_uses_it(wrap):
    class Watched(np.ndarray):
        pass

    x = np.arange(5.0).view(Watched)
    watch = weakref.ref(x)
    array = _C.Array(wrap(x))
    del x
    view = np.asarray(array)
    del array
    gc.collect()
    assert watch() is not None
    assert view.tolist() == [0, 1, 2, 3, 4]
    del view
    gc.collect()
    assert watch() is None


def test_a_capsule_no_one_takes_frees_its_memory():
    gc.collect()
    before = _C.memory_stats()["bytes_in_use"]
    array = _C.empty((100,), "float32")
    capsules = [array.__dlpack__(), array.__dlpack__(max_version=(1, 0))]
    del array
    assert _C.memory_stats()["bytes_in_use"] > before
    del capsules
    gc.collect()
    assert _C.memory_stats()["bytes_in_use"] == before


def test_with_layout_stays_inside_the_memory():
    array = _C.Array(np.arange(6.0))
    assert np.asarray(array.with_layout((3, 2), (2, 1))).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert np.asarray(array.with_layout((2, 3), (1, 2))).tolist() == [[0, 2, 4], [1, 3, 5]]
    assert np.asarray(array.with_layout((2, 2), (0, 1))).tolist() == [[0, 1], [0, 1]]
    for shape, strides in [((7,), (1,)), ((2, 3), (4, 1)), ((2,), (2**62,)), ((2**62, 4), (4, 2**61))]:
        with pytest.raises(ValueError, match="beyond this array's memory"):
            array.with_layout(shape, strides)
    for shape, strides in [((2,), (1, 1)), ((-1,), (1,)), ((2,), (-1,))]:
        with pytest.raises(ValueError, match="with_layout: shape and strides must"):
            array.with_layout(shape, strides)


def test_sizes_may_be_numpy_integers_and_arrays():
    x = np.zeros((1, 1, 4, 4), np.float32)
    assert kernels.max_pool2d(x, np.int32(2)).shape == (1, 1, 2, 2)
    assert kernels.max_pool2d(x, np.array([2, 4])).shape == (1, 1, 2, 1)
    with pytest.raises(TypeError, match="kernel_size must be an int or a sequence of 2 ints"):
        kernels.max_pool2d(x, True)
    with pytest.raises(TypeError, match="kernel_size must be an int or a sequence of 2 ints"):
        kernels.max_pool2d(x, np.array([2.0, 2.0]))
