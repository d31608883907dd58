"""Fixtures shared by all tests.

With a CUDA device, or with the emulator (`MEDKERN_CUDA=emulated`), tests of kernels and of what is made of
tensors run there as well; a test marked `cpu` doesn't.
"""

import ctypes
import os
import runpy
from pathlib import Path

import numpy as np
import pytest

import medkern
from medkern import _C, testing

if os.environ.get("MEDKERN_CUDA") == "emulated" and "MEDKERN_CUDA_EMULATOR" not in os.environ:
    emulator = runpy.run_path(str(Path(__file__).parent / "cuda" / "emulator.py"))
    os.environ["MEDKERN_CUDA_EMULATOR"] = str(emulator["build"]())

# Tests that say nothing of devices run with each as the default: those in these folders and files.
_ON_EVERY_DEVICE = {"functional", "inference", "io", "losses", "models", "nn", "optim"}
_ON_EVERY_DEVICE |= {"test_explain.py", "test_trainer.py"}

_CUDA = [pytest.param("cuda", marks=pytest.mark.cuda)] if medkern.cuda.is_available() else []


def pytest_addoption(parser):
    parser.addoption("--few", type=int, metavar="N", help="run at most N of each test's parameters")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """With --few, keeps as many of each test, from its first parameters to its last."""
    few = config.getoption("--few")
    if few is None:
        return
    tests = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = []
    for found in tests.values():
        step = max(1.0, (len(found) - 1) / max(1, few - 1))
        kept += [found[round(i * step)] for i in range(min(few, len(found)))]
    dropped = {id(item) for item in items} - {id(item) for item in kept}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in dropped])
    items[:] = kept


@pytest.fixture(params=[*_C.isa_names(), *_CUDA])
def isa(request):
    """Each instruction set this machine can run, one after the other, and then a CUDA device.

    NumPy arrays that enter an operation are copied there, and results come back as NumPy arrays.
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


def pytest_generate_tests(metafunc):
    path = metafunc.definition.path
    is_about_cpu = metafunc.definition.get_closest_marker("cpu") is not None
    if _CUDA and not is_about_cpu and {path.name, path.parent.name} & _ON_EVERY_DEVICE:
        metafunc.parametrize("default_device", ["cpu", *_CUDA], indirect=True)


@pytest.fixture(autouse=True)
def default_device(request):
    """Where tensors are made: the CPU, or what `pytest_generate_tests` says."""
    device = getattr(request, "param", "cpu")
    if device == "cuda" and "MEDKERN_CUDA_EMULATOR" in os.environ:
        request.getfixturevalue("sooner")
    with medkern.device(device):
        yield medkern.get_default_device()


@pytest.fixture
def sooner(monkeypatch):
    """For an emulated device, which is slow, on which the kernels' own tests are thorough.

    Each kernel runs once, in a random order of threads, and gradients are compared with finite differences at
    some places.
    """
    set_schedule = ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_set_schedule

    def some(shape):
        places = list(np.ndindex(shape))
        return places[:: max(1, len(places) // 6)]

    monkeypatch.setattr(testing, "_places", some)
    set_schedule(2, 1)
    yield
    set_schedule(3, 1)


@pytest.fixture
def rng():
    return np.random.default_rng(20260)
