"""What concerns CUDA's element-wise kernels alone: the CPU's bits, unaligned memory, indices out of range.

What the operations compute is tested beside the CPU's kernels.
"""

import numpy as np
import pytest

import medkern
from medkern import _C, kernels

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device and no emulator"),
]


def at_element(array, offset):
    """The array on the device, `offset` elements past an aligned address."""
    room = np.zeros(array.size + offset, array.dtype)
    room[offset:] = array.ravel()
    strides, step = [], 1
    for size in reversed(array.shape):
        strides.insert(0, step)
        step *= size
    return _C.Array(room, "cuda").with_layout(array.shape, strides, offset)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 3, 4, 1021, 5000])
def test_random_numbers_have_the_bits_of_the_cpu(rng, dtype, count):
    x = rng.standard_normal(count).astype(dtype)

    def draws():
        return [
            kernels.uniform((count,), dtype, 5, 9, -1.0, 3.0),
            kernels.normal((count,), dtype, 2**64 - 1, 2**32 - 5, 2.0, 0.5),
            *kernels.dropout(x, 0.3, 5, 9),
        ]

    expected = draws()
    with medkern.device("cuda"):
        got = [np.asarray(a) for a in draws()]
    assert [a.tobytes() for a in got] == [a.tobytes() for a in expected]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_of_the_optimizers_have_the_bits_of_the_cpu(rng, dtype):
    for count in (1, 8, 1003):
        arrays = [np.abs(rng.standard_normal(count)).astype(dtype) for _ in range(4)]
        results = []
        for device in ("cpu", "cuda"):
            p, g, m, v = (_C.Array(a.copy(), device) for a in arrays)
            kernels.adam_step(p, g, m, v, step=3, lr=0.1, weight_decay=0.1)
            kernels.sgd_step(p, g, m, lr=0.1, momentum=0.9, nesterov=True)
            results.append([a.numpy().tobytes() for a in (p, m, v)])
        assert results[0] == results[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(1,), (7,), (515,), (6, 8), (6, 7), (2, 3, 4)])
def test_memory_may_begin_anywhere(rng, shape, dtype, offset):
    a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    row = rng.standard_normal(shape[-1:]).astype(dtype)
    x, y, z = at_element(a, offset), at_element(b, 0), at_element(row, offset)
    assert (kernels.add(x, y).numpy() == a + b).all()
    assert (kernels.mul(x, z).numpy() == a * row).all()
    assert (kernels.compare("gt", x, y).numpy() == (a > b)).all()
    assert (kernels.relu(x).numpy() == np.maximum(a, 0)).all()
    np.testing.assert_allclose(kernels.sum(x).numpy(), a.sum(), rtol=1e-5, atol=1e-5)
    assert kernels.max(x).numpy() == a.max()


@pytest.mark.parametrize("index", [-1, 7, 2**40])
def test_indices_out_of_range_are_reported_by_synchronization(index):
    weight, ones = _C.Array(np.ones((7, 5), np.float32), "cuda"), np.ones((3, 5), np.float32)
    indices = _C.Array(np.array([0, index, 3]), "cuda")
    y = kernels.embedding(indices, weight)
    with pytest.raises(ValueError, match=r"embedding: indices must be from 0 to 6"):
        medkern.cuda.synchronize()
    np.testing.assert_array_equal(y.numpy()[:, 0], [1, 0, 1])
    dweight = kernels.embedding_backward(_C.Array(ones, "cuda"), indices, (7, 5))
    with pytest.raises(ValueError, match="embedding_backward: indices"):
        medkern.cuda.synchronize()
    np.testing.assert_array_equal(dweight.numpy()[:, 0], [1, 0, 0, 1, 0, 0, 0])
    medkern.cuda.synchronize()  # a fault is reported once
