"""Builds the emulator of CUDA devices (csrc/cuda/emulator/) and the kernels it runs with the C++ compiler.

    python tests/cuda/emulator.py        # prints the library's path, for MEDKERN_CUDA_EMULATOR

One shared library holds both: `.cu` files compile as C++, since cuda/device.h gives every name of CUDA a
body there. Object files are kept by the hash of what they are made from, in build/emulator of the checkout
or the folder that MEDKERN_EMULATOR_CACHE names, which several checkouts may share.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"

COMMON = ["-std=c++20", "-g1", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"]
COMMON += ["-Icsrc", "-Icsrc/include", "-Wall", "-Wextra"]
# Kernels look at the same memory under several types, as device code may. What the checks find goes to
# csrc/cuda/emulator/checks.cpp; no library of the compiler's takes part.
KERNEL = ["-x", "c++", "-O1", "-fno-strict-aliasing", "-Wno-unknown-pragmas"]
KERNEL += ["-fsanitize=alignment,bounds,integer-divide-by-zero,shift"]
STEPS = "keep to itself"  # what is done to objects beside; a new word makes them anew


def compiler() -> str | None:
    """The C++ compiler, or None."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")


@cache
def _compiler_version() -> str:
    return subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout


@cache
def _processor_flags() -> list[str]:
    """For vectors, fused multiply-adds and half precision by instructions, where the processor has them."""
    try:
        known = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [f"-m{name}" for name in ("avx2", "fma", "f16c") if name in known]


def _cache() -> Path:
    folder = Path(os.environ.get("MEDKERN_EMULATOR_CACHE") or ROOT / "build" / "emulator").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _hash(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:20]


def _content_hash(paths: Iterable[Path], flags: list[str]) -> str | None:
    """None if one of the files is gone."""
    try:
        contents = [f"{p}:{hashlib.sha256((ROOT / p).read_bytes()).hexdigest()}" for p in paths]
    except FileNotFoundError:
        return None
    return _hash(STEPS, _compiler_version(), *flags, *contents)


def _read_dependencies(path: Path) -> list[Path]:
    """The files in a rule that the compiler wrote with -MMD."""
    _, _, files = path.read_text().replace("\\\n", " ").partition(": ")
    return [Path(f) for f in files.split()]


def _compile(source: Path) -> Path:
    if source.is_relative_to(ROOT):
        source = source.relative_to(ROOT)
    flags = [*COMMON, *_processor_flags(), *(KERNEL if source.suffix == ".cu" else ["-O2"])]
    folder = _cache()
    # What it included last time is known by its path and flags; if none of that has changed, neither has it.
    rule = folder / f"{source.stem}-{_hash(source, *flags)}.d"
    if rule.exists():
        known = _content_hash(_read_dependencies(rule), flags)
        if known and (folder / f"{source.stem}-{known}.o").exists():
            return folder / f"{source.stem}-{known}.o"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made, found = Path(scratch) / "made.o", Path(scratch) / "made.d"
        command = [compiler(), *flags, "-MMD", "-MF", str(found), "-c", str(source), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode != 0:
            raise RuntimeError(f"{source.name} doesn't compile for the emulator:\n{done.stderr}")
        if source.suffix == ".cu":
            _keep_to_itself(made)
        content = _content_hash(_read_dependencies(found), flags)
        target = folder / f"{source.stem}-{content}.o"
        made.replace(target)
        found.replace(rule)
    return target


def _keep_to_itself(made: Path) -> None:
    """Makes all functions but the kernels the object's own.

    Two files may have functions of one name that differ, which are apart on the device; here the linker would
    take one for both.
    """
    joined = made.with_suffix(".joined")
    subprocess.run(["ld", "-r", "--force-group-allocation", made, "-o", joined], check=True)
    subprocess.run(["objcopy", "--localize-hidden", joined, made], check=True)


def build(kernels: Iterable[Path] | None = None) -> Path:
    """The path of a shared library with the emulator and these `.cu` files, by default all of medkern."""
    if kernels is None:
        kernels = (CSRC / "kernels").glob("*/*.cu")
    sources = [*sorted(kernels), *sorted((CSRC / "cuda" / "emulator").glob("*.cpp"))]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        objects = list(pool.map(_compile, sources))
    library = _cache() / f"libemulator-{_hash(_compiler_version(), *(o.name for o in objects))}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=_cache()) as scratch:
            made = Path(scratch) / "made.so"
            command = [compiler(), "-shared", *map(str, objects), "-o", str(made), "-ldl", "-lpthread"]
            subprocess.run(command, check=True)
            made.replace(library)
    return library


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
