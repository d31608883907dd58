"""What every call into the library keeps: the caller's floating-point mode and its own error message."""

import threading

import numpy as np
import pytest

from medkern import kernels


def test_denormals_are_the_callers_again():
    tiny = np.array([1e-42], np.float32)
    kernels.max_pool2d(np.zeros((1, 4, 8, 8), np.float32), 2)
    assert (tiny * np.float32(1)).item() != 0
    with pytest.raises(ValueError):
        kernels.max_pool2d(np.zeros((1, 4, 8, 8), np.float32), 0)
    assert (tiny * np.float32(1)).item() != 0


def test_each_thread_gets_its_own_message():
    x = np.zeros((1, 1, 4, 4), np.float32)
    barrier = threading.Barrier(2)
    wrong = []

    def fail(size):
        for _ in range(100):
            barrier.wait()
            try:
                kernels.max_pool2d(x, size)
            except ValueError as error:
                if f"kernel_size {size} " not in str(error):
                    wrong.append(str(error))

    workers = [threading.Thread(target=fail, args=(size,)) for size in (7, 9)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
