import numpy as np
import pytest

import medkern
from medkern import kernels
from reference import peak as reference


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (15,), (16,), (17,), (3, 67), (192,), (193,), (2, 4, 97)])
def test_against_the_oracle(isa, rng, shape, dtype):
    x = rng.integers(-8, 9, shape).astype(dtype)
    before = x.copy()
    for rounds in (0, 1, 5):  # exact: 4 bits and 5 more behind the point
        y = kernels.fma_chain(x, rounds)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, reference.fma_chain(x, rounds))
    np.testing.assert_array_equal(x, before)


def test_same_bits_at_any_number_of_threads(rng):
    x = rng.standard_normal(5000).astype(np.float32)
    before = medkern.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        results.append(kernels.fma_chain(x, 20))
    medkern.set_num_threads(before)
    assert all(np.array_equal(results[0], y) for y in results)


def test_in_place_and_strided():
    x = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(kernels.fma_chain(x[::2], 1), [1, 2, 3])
    kernels.fma_chain(x, 1, out=x)
    np.testing.assert_array_equal(x, [1, 1.5, 2, 2.5, 3, 3.5])


def test_bad_arguments_are_named():
    x = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="rounds must be from 0 to 2147483647, got -1"):
        kernels.fma_chain(x, -1)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        kernels.fma_chain(x.astype(np.int64), 1)
    with pytest.raises(ValueError, match=r"y must have shape \(4,\), got \(3,\)"):
        kernels.fma_chain(x, 1, out=np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="y must be float32 as x is, got float64"):
        kernels.fma_chain(x, 1, out=np.zeros(4))
    with pytest.raises(ValueError, match="y must be contiguous"):
        kernels.fma_chain(x, 1, out=np.zeros(8, np.float32)[::2])
    base = np.zeros(8, np.float32)
    with pytest.raises(ValueError, match="y must not share memory with x"):
        kernels.fma_chain(base[:4], 1, out=base[1:5])
