"""The gate that needs no GPU: every kernel compiles for every architecture, spills nothing, fits a block."""

import importlib.util
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"
SOURCES = sorted(CSRC.glob("kernels/*/*.cu"))
REGISTERS = 65536  # of a multiprocessor, and at most of a block
SHARED = 48 << 10  # what a block may have without asking; more is asked for at launch


def _load_compiler():
    spec = importlib.util.spec_from_file_location("medkern_compile", CSRC / "cuda" / "compile.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiler = _load_compiler()

try:
    compiler.find_library()
except compiler.CompileError as error:
    pytest.skip(str(error), allow_module_level=True)


def threads_of(source):
    """Kernel -> threads of its blocks, as MK_KERNEL states them."""
    constants = dict(re.findall(r"constexpr \w+ (k\w+) = (\d+);", source))
    headers = re.findall(r'#include "([^"]+)"', source)
    for header in headers:
        constants |= dict(re.findall(r"constexpr \w+ (k\w+) = (\d+);", (CSRC / header).read_text()))
    found = re.findall(r"MK_KERNEL\(\s*(\w+),\s*\w+,\s*(\w+)\s*(?:,\s*\d+\s*)?\)", source)
    return {name: int(constants.get(threads, threads)) for name, threads in found}


@pytest.fixture(scope="module")
def table():
    """(source, architecture) -> the resources of its kernels, and the log; all compiled once."""
    jobs = [(s, a) for s in SOURCES for a in compiler.architectures_of(s)]
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda job: compiler.compile_source(job[0], CSRC, job[1]), jobs)
        return dict(zip(jobs, done, strict=True))


def test_there_are_kernels():
    assert SOURCES
    assert all(threads_of(source.read_text()) for source in SOURCES)


@pytest.mark.parametrize(
    "source, architecture",
    [(source, a) for source in SOURCES for a in compiler.architectures_of(source)],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_resources(table, source, architecture, capsys):
    compiled = table[source, architecture]
    threads = threads_of(source.read_text())
    assert {r.kernel for r in compiled.resources} == set(threads)
    with capsys.disabled():
        print(f"\n{source.stem} {architecture}")
        for r in compiled.resources:
            taken = f"{r.registers:>3} registers {r.shared:>6} B shared"
            print(f"  {r.kernel:<44} {threads[r.kernel]:>4} threads {taken}")
    faults = []
    for r in compiled.resources:
        if r.spilled or r.stack:
            faults.append(f"{r.kernel}: {r.spilled} bytes spilled, {r.stack} bytes of stack")
        # Registers are given out to a warp in units of 8 a thread.
        if (r.registers + 7) // 8 * 8 * threads[r.kernel] > REGISTERS:
            faults.append(f"{r.kernel}: {r.registers} registers of {threads[r.kernel]} threads don't fit")
        if r.shared > SHARED:
            faults.append(f"{r.kernel}: {r.shared} bytes of shared memory")
    # What ptxas says where it gives up what a Hopper kernel counts on: C7508 on registers, C7510 and others
    # on products that no longer run beside the threads.
    faults += [line for line in compiled.log.splitlines() if "(C75" in line]
    assert not faults, "\n".join(faults)


def test_names_are_unique():
    names = [name for source in SOURCES for name in threads_of(source.read_text())]
    assert len(names) == len(set(names))


def test_ptx_serves_later_chips(table):
    oldest = compiler.ARCHITECTURES[0]
    for source in SOURCES:
        if oldest not in compiler.architectures_of(source):
            continue  # its kernels are those of one chip only
        ptx = table[source, oldest].ptx
        assert f".target {oldest}".encode() in ptx
        assert ptx.endswith(b"\0")


def test_what_a_file_is_made_from():
    names = {str(path.relative_to(CSRC)) for path in compiler.included(CSRC / "kernels/pool/pool.cu", CSRC)}
    assert {"kernels/pool/pool.cuda.h", "kernels/pool/pool.cuh", "cuda/device.h", "cuda/types.h"} <= names


def test_a_fault_is_reported():
    with pytest.raises(compiler.CompileError, match="undefined"):
        compiler.Nvrtc().compile("__global__ void f() { g(); }", "fault.cu", "sm_80", [])


def test_spills_are_read():
    log = (
        "ptxas info    : Compiling entry function 'f' for 'sm_80'\n"
        "ptxas info    : Function properties for f\n"
        "    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n"
        "ptxas info    : Used 255 registers, 1024 bytes smem, 400 bytes cmem[0]\n"
    )
    (found,) = compiler.read_resources(log, "sm_80")
    assert (found.kernel, found.registers, found.spilled, found.stack, found.shared) == (
        "f",
        255,
        20,
        16,
        1024,
    )
