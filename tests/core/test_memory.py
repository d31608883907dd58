import gc

import numpy as np
import pytest

from medkern import _C, kernels


def test_stats_count_what_is_alive():
    gc.collect()
    before = _C.memory_stats()["bytes_in_use"]
    array = _C.empty((1000,), "float32")
    during = _C.memory_stats()["bytes_in_use"]
    # Sizes are rounded up to the next of four per power of two: 4000 to 4096.
    assert during - before == 4096
    del array
    assert _C.memory_stats()["bytes_in_use"] == before


def test_peak_is_kept_and_reset():
    _C.memory_reset_peak()
    start = _C.memory_stats()
    assert start["peak_bytes_in_use"] == start["bytes_in_use"]
    del start
    array = _C.empty((1 << 20,), "uint8")
    del array
    stats = _C.memory_stats()
    assert stats["peak_bytes_in_use"] == stats["bytes_in_use"] + (1 << 20)


def test_memory_is_reused_and_trimmed():
    _C.memory_trim()
    assert _C.memory_stats()["bytes_cached"] == 0
    first = np.asarray(_C.empty((123, 45), "float64"))
    address = first.ctypes.data
    del first
    assert _C.memory_stats()["bytes_cached"] > 0
    assert np.asarray(_C.empty((123, 45), "float64")).ctypes.data == address
    _C.memory_trim()
    assert _C.memory_stats()["bytes_cached"] == 0


def test_memory_of_one_shape_serves_others():
    """Blocks that are given back join their free neighbors, so the pages used stay near the peak."""
    _C.memory_trim()
    start = _C.memory_stats()["bytes_cached"]
    blocks = [_C.empty((n << 20,), "uint8") for n in (1, 2, 3, 4)]
    del blocks[1:3]  # 5 MiB side by side
    large = _C.empty(((5 << 20) - 64,), "uint8")
    assert _C.memory_stats()["bytes_cached"] - start < 1 << 20
    del blocks, large
    assert 10 << 20 <= _C.memory_stats()["bytes_cached"] - start < 11 << 20
    _C.memory_trim()
    assert _C.memory_stats()["bytes_cached"] == 0


def test_a_region_is_trimmed_around_what_is_alive():
    _C.memory_trim()
    blocks = [np.asarray(_C.empty((8 << 20,), "uint8")) for _ in range(3)]
    blocks[1][...] = 7
    del blocks[2], blocks[0]
    _C.memory_trim()
    assert _C.memory_stats()["bytes_cached"] == 0
    assert (blocks[0] == 7).all()
    again = np.asarray(_C.empty((8 << 20,), "uint8"))
    again[...] = 3
    assert (blocks[0] == 7).all()


@pytest.mark.parametrize(
    "size", [0, 1, 63, 64, 65, 80, 96, 100, 112, 129, 255, 4097, 65_536, 65_537, 100_000, 300 << 20]
)
def test_every_block_is_aligned_and_large_enough(size):
    arrays = [np.asarray(_C.empty((size,), "uint8")) for _ in range(3)]
    for number, array in enumerate(arrays):
        assert size == 0 or array.ctypes.data % 64 == 0
        array[:1000] = array[-1000:] = number
    for number, array in enumerate(arrays):
        assert (array[:1000] == number).all() and (array[-1000:] == number).all()


def test_no_memory_is_lost_by_calls_that_fail():
    x = np.zeros((1, 2, 8, 8), np.float32)
    gc.collect()
    before = _C.memory_stats()["bytes_in_use"]
    for _ in range(5):
        with pytest.raises(ValueError):
            kernels.max_pool2d(x, 2, out=np.empty((1, 2, 4, 5), np.float32))
        with pytest.raises(ValueError):
            kernels.max_pool_backward(x, np.full(x.shape, 99), (1, 2, 8, 8), 1)
    gc.collect()
    assert _C.memory_stats()["bytes_in_use"] == before


def test_sizes_that_can_not_be_had():
    with pytest.raises(MemoryError, match="overflow 64 bits"):
        _C.empty((1 << 40, 1 << 40), "float32")
    with pytest.raises(MemoryError, match="cannot allocate"):
        _C.empty((1 << 62,), "uint8")
    with pytest.raises(ValueError, match=r"negative size: \(2, -1\)"):
        _C.empty((2, -1), "float32")
    with pytest.raises(ValueError, match="at most 8 dimensions, got 9"):
        _C.empty((1,) * 9, "float32")
