"""Starts kernels by the C functions of a CUDA runtime, the real one or the emulator, for tests of both."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint,
    c_void_p,
)
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from emulator import build
from emulator import compiler as host_compiler

# How the emulator orders threads, and a seed.
SCHEDULES = {"forward": (0, 0), "backward": (1, 0), "random": (2, 7), "every": (3, 0)}
EVERYWHERE = [*SCHEDULES, pytest.param("gpu", marks=pytest.mark.cuda)]


class _Args(Structure):
    """TestArgs of the `.cu` files beside."""

    _fields_ = [("a", c_void_p), ("b", c_void_p), ("out", c_void_p), ("count", c_int64), ("number", c_int32)]


class _Dim3(Structure):
    _fields_ = [("x", c_uint), ("y", c_uint), ("z", c_uint)]


class _Attribute(Structure):
    _fields_ = [("id", c_uint), ("pad", c_char * 4), ("value", c_int), ("rest", c_char * 60)]


class _Config(Structure):
    _fields_ = [
        ("grid", _Dim3),
        ("block", _Dim3),
        ("shared", c_size_t),
        ("stream", c_void_p),
        ("attributes", POINTER(_Attribute)),
        ("count", c_uint),
    ]


_COOPERATIVE, _DYNAMIC_SHARED, _DEFAULT = 2, 8, 4


class CudaError(RuntimeError):
    """A call of the runtime failed; the message is the runtime's."""


class Buffer:
    """Memory of the device."""

    def __init__(self, device: Device, nbytes: int):
        self._device, self.nbytes, self.address = device, nbytes, c_void_p()
        device.call("cudaMallocAsync", byref(self.address), c_size_t(nbytes), None)

    def write(self, array: np.ndarray) -> Buffer:
        array = np.ascontiguousarray(array)
        self._device.call(
            "cudaMemcpyAsync",
            self.address,
            c_void_p(array.ctypes.data),
            c_size_t(array.nbytes),
            _DEFAULT,
            None,
        )
        return self

    def read(self, dtype=np.float32, shape=-1) -> np.ndarray:
        array = np.empty(self.nbytes // np.dtype(dtype).itemsize, dtype)
        self._device.call(
            "cudaMemcpyAsync",
            c_void_p(array.ctypes.data),
            self.address,
            c_size_t(array.nbytes),
            _DEFAULT,
            None,
        )
        self._device.synchronize()
        return array.reshape(shape)

    def free(self) -> None:
        self._device.call("cudaFreeAsync", self.address, None)


class Device:
    """A CUDA runtime and the kernels of one library; `code`: machine code, or None for the emulator."""

    def __init__(self, runtime: Path | str, code: bytes | None = None):
        self.runtime = ctypes.CDLL(str(runtime))
        self.runtime.cudaGetErrorString.restype = c_char_p
        self._code, self._library = code, c_void_p()
        self.call("cudaLibraryLoadData", byref(self._library), code, None, None, 0, None, None, 0)

    def call(self, name: str, *arguments) -> None:
        status = getattr(self.runtime, name)(*arguments)
        if status != 0:
            message = self.runtime.cudaGetErrorString(status).decode()
            self.runtime.cudaGetLastError()
            raise CudaError(message)

    def synchronize(self) -> None:
        self.call("cudaDeviceSynchronize")

    def put(self, array: np.ndarray) -> Buffer:
        array = np.asarray(array)
        return Buffer(self, array.nbytes).write(array)

    def kernel(self, name: str) -> c_void_p:
        found = c_void_p()
        self.call("cudaLibraryGetKernel", byref(found), self._library, name.encode())
        return found

    def start(
        self, name, a=None, b=None, out=None, *, count=0, number=0, grid=1, block=32, shared=0, stream=None,
        cooperative=False, ask=True, args=None,
    ) -> None:  # fmt: skip
        """Queues a kernel; `ask`: for as much shared memory as it is to have; `args`: other than TestArgs."""
        kernel = self.kernel(name)
        if ask:
            self.call("cudaKernelSetAttributeForDevice", kernel, _DYNAMIC_SHARED, shared, 0)
        a, b, out = (x.address if isinstance(x, Buffer) else x for x in (a, b, out))
        args = args or _Args(a, b, out, count, number)
        pointers = (c_void_p * 1)(ctypes.cast(ctypes.pointer(args), c_void_p))
        sizes = [
            _Dim3(*s, *[1] * (3 - len(s))) for s in [(n,) if isinstance(n, int) else n for n in (grid, block)]
        ]
        attribute = _Attribute(_COOPERATIVE, b"", 1, b"")
        config = _Config(*sizes, shared, stream, ctypes.pointer(attribute), int(cooperative))
        self.call("cudaLaunchKernelExC", byref(config), kernel, pointers)

    def launch(self, name, *buffers, **options) -> None:
        """Runs a kernel and waits for it."""
        self.start(name, *buffers, **options)
        self.synchronize()


def _find_runtime() -> str:
    """A name or path of libcudart that can be opened; skips the test without one or without a GPU."""
    names = []
    for name, folder in (("libcudart.so.12", "cuda_runtime"), ("libcudart.so.13", "cu13")):
        names += [name, *(f"{entry}/nvidia/{folder}/lib/{name}" for entry in sys.path)]
    for name in names:
        try:
            runtime = ctypes.CDLL(name)
        except OSError:
            continue
        count = c_int()
        if runtime.cudaGetDeviceCount(byref(count)) == 0 and count.value > 0:
            return name
    pytest.skip("needs a GPU")


def open_gpu(source: Path, only: str = "") -> Device:
    """The GPU with the kernels of a `.cu` file; skips the test where there is none, or no `only` one."""
    runtime = _find_runtime()
    csrc = Path(__file__).resolve().parents[2] / "csrc"
    spec = importlib.util.spec_from_file_location("medkern_compile", csrc / "cuda" / "compile.py")
    compiler = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compiler)
    major, minor = c_int(), c_int()
    for value, number in ((major, 75), (minor, 76)):
        ctypes.CDLL(runtime).cudaDeviceGetAttribute(byref(value), number, 0)
    native = {9: "sm_90a" if minor.value == 0 else None, 8: "sm_80"}.get(major.value)
    if only not in ("", native):
        pytest.skip(f"needs a GPU that takes {only}")
    try:
        compiled = compiler.compile_source(source, csrc, native or compiler.ARCHITECTURES[0])
    except compiler.CompileError as error:
        pytest.skip(str(error))
    return Device(runtime, compiled.machine_code if native else compiled.ptx)


@cache
def _emulator(source: Path) -> Device:
    return Device(build([source]))


def open_emulator(source: Path) -> Device:
    """The emulator with the kernels of a `.cu` file; skips the test where nothing can compile it."""
    if host_compiler() is None:
        pytest.skip("needs a C++ compiler")
    return _emulator(source)


def open_device(where: str, source: Path, only: str = "") -> Device:
    """The GPU, or the emulator under the schedule of that name; `where` is one of EVERYWHERE."""
    if where == "gpu":
        return open_gpu(source, only)
    device = open_emulator(source)
    device.runtime.medkern_emulator_set_schedule(*SCHEDULES[where])
    return device
