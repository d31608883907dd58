"""Compiles a `.cu` file with NVRTC, which needs neither a CUDA toolkit nor a GPU.

    python compile.py csrc/kernels/pool/pool.cu --include csrc --output build/pool.cu.cpp

writes the machine code for each architecture beside the output, and as output a C++ file that holds them as
bytes, for `cuda/code.h`. A file `<name>.<architecture>.cu` is compiled for that architecture alone. With
`--list` and all sources it writes the list of them. `compile_source` gives the resources each kernel takes as
well.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

# Machine code for compute capability 8.x and 9.0. The PTX on the way to the first is kept too, which drivers
# compile for chips that come after.
ARCHITECTURES = ("sm_80", "sm_90a")
PTX = "compute_80"
OPTIONS = ("--std=c++17", "--restrict", "--ptxas-options=-v", "-default-device")


@dataclass(frozen=True)
class Resources:
    """What one kernel takes on one architecture.

    Attributes:
        kernel: its name.
        architecture: as in ARCHITECTURES.
        registers: of a thread.
        spilled: bytes of registers kept in memory, stores and loads together.
        stack: bytes of a thread's stack frame.
        shared: bytes of shared memory known when compiling.
    """

    kernel: str
    architecture: str
    registers: int
    spilled: int
    stack: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    """What compiling one file for one architecture gives.

    Attributes:
        machine_code: a cubin.
        ptx: the same before it became machine code, ending in a zero byte.
        resources: of its kernels.
        log: the compiler's.
    """

    machine_code: bytes
    ptx: bytes
    resources: list[Resources]
    log: str


class CompileError(RuntimeError):
    """NVRTC refused a source; the message is its log."""


def find_library() -> Path:
    """NVRTC 12 of the package nvidia-cuda-nvrtc-cu12 or 13 of nvidia-cuda-nvrtc.

    In the directory MEDKERN_NVRTC names, or wherever Python looks for packages.
    """
    named = os.environ.get("MEDKERN_NVRTC")
    for version, folder in ((12, "nvidia/cuda_nvrtc/lib"), (13, "nvidia/cu13/lib")):
        folders = [Path(named)] if named else [Path(entry) / folder for entry in sys.path]
        for path in folders:
            if (path / f"libnvrtc.so.{version}").is_file():
                return path / f"libnvrtc.so.{version}"
    raise CompileError(
        f"libnvrtc.so.12 not found{f' in {named}' if named else ''}: install nvidia-cuda-nvrtc-cu12"
    )


class Nvrtc:
    """The few calls of NVRTC that compiling takes."""

    def __init__(self) -> None:
        path = find_library()
        for builtins in path.parent.glob("libnvrtc-builtins.so.*"):  # which not every NVRTC finds on its own
            ctypes.CDLL(str(builtins))
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise CompileError(f"{name}: {self._library.nvrtcGetErrorString(status).decode()}")

    def _bytes(self, program: ctypes.c_void_p, kind: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{kind}Size", program, ctypes.byref(size))
        data = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{kind}", program, data)
        return data.raw

    def compile(self, source: str, name: str, architecture: str, options: list[str]) -> Compiled:
        """Compiles the text `source`, which messages call `name`."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        try:
            options = [f"--gpu-architecture={architecture}", *options]
            array = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            status = self._library.nvrtcCompileProgram(program, len(options), array)
            log = self._bytes(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            if status != 0:
                raise CompileError(f"{name} for {architecture}:\n{log}")
            machine_code, ptx = self._bytes(program, "CUBIN"), self._bytes(program, "PTX")
            return Compiled(machine_code, ptx, read_resources(log, architecture), log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))


def architectures_of(source: Path) -> tuple[str, ...]:
    """What a file is compiled for."""
    own = source.suffixes[-2][1:] if len(source.suffixes) > 1 else ""
    return (own,) if own in ARCHITECTURES else ARCHITECTURES


def family_of(source: Path) -> str:
    """The name that a file's code has in the library."""
    return source.name.partition(".")[0]


def read_resources(log: str, architecture: str) -> list[Resources]:
    """The kernels' resources in a log of `--ptxas-options=-v`."""
    found = []
    for part in log.split("Compiling entry function ")[1:]:
        number = {
            name: [int(n) for n in re.findall(pattern, part)]
            for name, pattern in [
                ("registers", r"Used (\d+) registers"),
                ("spilled", r"(\d+) bytes spill"),
                ("stack", r"(\d+) bytes stack frame"),
                ("shared", r"(\d+) bytes smem"),
            ]
        }
        kernel = part.split("'")[1]
        found.append(
            Resources(
                kernel, architecture, *(sum(number[k]) for k in ("registers", "spilled", "stack", "shared"))
            )
        )
    return found


def compile_source(path: Path, include: Path, architecture: str) -> Compiled:
    """Compiles a `.cu` file."""
    options = [*OPTIONS, f"--include-path={include}"]
    return Nvrtc().compile(path.read_text(), str(path), architecture, options)


def included(path: Path, include: Path) -> set[Path]:
    """The files that `path` includes, and those they include."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        names = re.findall(r'^#include "([^"]+)"', waiting.pop().read_text(), re.MULTILINE)
        new = {include / name for name in names if (include / name).is_file()} - found
        found |= new
        waiting += new
    return found


def embed(family: str, files: dict[str, Path]) -> str:
    """C++ that defines `<family>_code` of cuda/code.h from files of machine code."""
    lines = [f"// Made from {family}.cu by cuda/compile.py.", '#include "cuda/code.h"', ""]
    for architecture, path in files.items():
        symbol = f"medkern_{family}_{architecture}"
        lines += [
            f'asm(".pushsection .rodata\\n.balign 64\\n{symbol}_begin:\\n.incbin \\"{path}\\"\\n"',
            f'    "{symbol}_end:\\n.byte 0\\n.popsection\\n");',
            f'extern "C" [[gnu::visibility("hidden")]] const unsigned char {symbol}_begin[], {symbol}_end[];',
        ]
    lines += ["", "namespace medkern::cuda {", f"extern const DeviceCode {family}_code;"]
    lines += [f'const DeviceCode {family}_code = {{"{family}", {{']
    lines += [f'    {{"{a}", medkern_{family}_{a}_begin, medkern_{family}_{a}_end}},' for a in files]
    lines += ["}};", "}  // namespace medkern::cuda", ""]
    return "\n".join(lines)


def list_all(names: list[str]) -> str:
    """C++ that defines `all_code` of cuda/code.h."""
    lines = ["// Made by cuda/compile.py.", '#include "cuda/code.h"', "", "namespace medkern::cuda {", ""]
    lines += [f"extern const DeviceCode {name}_code;" for name in names]
    entries = ", ".join([*(f"&{name}_code" for name in names), "nullptr"])
    lines += [f"const DeviceCode* const all_code[] = {{{entries}}};", "", "}  // namespace medkern::cuda", ""]
    return "\n".join(lines)


def main() -> int:
    """Compiles one file for all architectures, or lists all files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--include", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--depends", type=Path, help="where to write what the output is made from, for make")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list:
        given.output.write_text(list_all(sorted(family_of(path) for path in given.sources)))
        return 0
    source = given.sources[0]
    files = {}
    for architecture in architectures_of(source):
        try:
            compiled = compile_source(source, given.include, architecture)
        except CompileError as error:
            print(error, file=sys.stderr)
            return 1
        files[architecture] = given.output.with_suffix(f".{architecture}")
        files[architecture].write_bytes(compiled.machine_code)
        if architecture == ARCHITECTURES[0]:
            files[PTX] = given.output.with_suffix(f".{PTX}")
            files[PTX].write_bytes(compiled.ptx)
    given.output.write_text(embed(family_of(source), files))
    if given.depends:
        names = " ".join(str(path) for path in sorted(included(source, given.include)))
        given.depends.write_text(f"{given.output}: {names}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
