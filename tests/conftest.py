"""Fixtures shared by all tests."""

import numpy as np
import pytest

from medkern import _C


@pytest.fixture(params=_C.isa_names())
def isa(request):
    """Each instruction set this machine can run, one after the other."""
    before = _C.isa_active()
    _C.isa_select(request.param)
    yield request.param
    _C.isa_select(before)


@pytest.fixture
def rng():
    return np.random.default_rng(20260)
