"""The C API from C, and the parts of the core that Python can't reach."""

import shutil
import subprocess
from pathlib import Path

import pytest

import medkern

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
CC, CXX = (
    next((c for c in names if shutil.which(c)), None) for names in (("cc", "gcc", "clang"), ("c++", "g++"))
)
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
HEADERS = sorted(Path(medkern.get_include()).rglob("*.h"))

needs_c = pytest.mark.skipif(CC is None, reason="needs a C compiler")
needs_cxx = pytest.mark.skipif(CXX is None, reason="needs a C++ compiler")


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_paths_exist():
    assert (Path(medkern.get_include()) / "medkern.h").is_file()
    assert Path(medkern.get_library()).is_file()


@needs_c
@pytest.mark.parametrize("name", ["embed", "packed"])
def test_a_c_program_uses_the_library(tmp_path, name):
    program = tmp_path / name
    library = Path(medkern.get_library())
    rpath = f"-Wl,-rpath,{library.parent}"
    source = HERE / f"{name}.c"
    run(CC, "-std=c99", *WARNINGS, "-I", medkern.get_include(), source, library, rpath, "-o", program)
    run(program)


@needs_c
@pytest.mark.parametrize("header", HEADERS, ids=lambda p: p.name)
def test_every_header_stands_alone(header, tmp_path):
    source = tmp_path / "alone.c"
    source.write_text(f'#include "{header}"\nint main(void) {{ return 0; }}\n')
    run(CC, "-std=c99", *WARNINGS, "-fsyntax-only", "-I", medkern.get_include(), source)


@needs_cxx
def test_the_header_is_also_cpp(tmp_path):
    source = tmp_path / "alone.cpp"
    source.write_text("#include <medkern.h>\nint main() { return mk_get_num_threads() > 0 ? 0 : 1; }\n")
    run(CXX, "-std=c++17", *WARNINGS, "-fsyntax-only", "-I", medkern.get_include(), source)


@pytest.fixture(scope="module")
def quota(tmp_path_factory):
    program = tmp_path_factory.mktemp("quota") / "quota"
    run(CXX, "-std=c++20", "-I", CSRC, HERE / "quota.cpp", CSRC / "core" / "processors.cpp", "-o", program)
    return program


@needs_cxx
@pytest.mark.parametrize(
    "files,expected",
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8),
        # The tightest of the group and those above it.
        (
            {
                "proc/self/cgroup": "0::/user/job\n",
                "sys/fs/cgroup/user/job/cpu.max": "500000 100000\n",
                "sys/fs/cgroup/user/cpu.max": "300000 100000\n",
            },
            3,
        ),
        # In a container: the path is the host's.
        ({"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        # Version 1.
        (
            {
                "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/docker/abc\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/job\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ({"proc/self/cgroup": "nonsense\n\n:\n::\n"}, 8),
    ],
)
def test_the_quota_of_a_control_group(quota, tmp_path, files, expected):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert run(quota, tmp_path, 8).strip() == str(expected)
