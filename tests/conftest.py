"""Fixtures shared by all tests.

With a CUDA device, or with the emulator (`MEDKERN_CUDA=emulated`), tests of kernels run there as well.
"""

import numpy as np
import pytest

import medkern
from medkern import _C

_CUDA = [pytest.param("cuda", marks=pytest.mark.cuda)] if medkern.cuda.is_available() else []


@pytest.fixture(params=[*_C.isa_names(), *_CUDA])
def isa(request):
    """Each instruction set this machine can run, one after the other, and then a CUDA device.

    NumPy arrays that enter an operation are copied there, and results come back as NumPy arrays. A test
    marked `cpu` is about the CPU alone.
    """
    if request.param == "cuda":
        if request.node.get_closest_marker("cpu") is not None:
            pytest.skip("about the CPU")
        with medkern.device("cuda"):
            yield "cuda"
        medkern.cuda.synchronize()
        return
    before = _C.isa_active()
    _C.isa_select(request.param)
    yield request.param
    _C.isa_select(before)


@pytest.fixture
def rng():
    return np.random.default_rng(20260)
