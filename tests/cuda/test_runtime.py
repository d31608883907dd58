"""Where the CUDA runtime is looked for. The emulator lies there in its place."""

import os
import shutil
import subprocess
import sys

import pytest

import medkern

CODE = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.mk_last_error.restype = ctypes.c_char_p
count = ctypes.c_int32()
for folder in sys.argv[2:]:
    assert library.mk_cuda_search_packages(folder.encode()) == 0
assert library.mk_cuda_search_packages(None) != 0 and b"folder is NULL" in library.mk_last_error()
if library.mk_cuda_device_count(ctypes.byref(count)) == 0:
    print(count.value)
else:
    print(library.mk_last_error().decode())
"""

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(os.environ.get("MEDKERN_CUDA") != "emulated", reason="needs the emulator"),
]


def devices(tmp_path, *folders):
    """What a process that has libmedkern alone, away from its package, finds."""
    library = shutil.copy(medkern.get_library(), tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "MEDKERN_CUDA"}
    words = [sys.executable, "-c", CODE, library, *map(str, folders)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "folder"),
    [("libcudart.so.12", "nvidia/cuda_runtime/lib"), ("libcudart.so.13", "nvidia/cu13/lib")],
)
def test_packages_are_looked_for_in_the_folders_that_were_named(tmp_path, name, folder):
    packages = tmp_path / "packages"
    (packages / folder).mkdir(parents=True)
    shutil.copy(os.environ["MEDKERN_CUDA_EMULATOR"], packages / folder / name)
    if devices(tmp_path).isdigit():
        pytest.skip("there is a GPU")
    assert devices(tmp_path, tmp_path / "nowhere", packages) == "2"


def test_without_a_runtime_there_is_a_reason(tmp_path):
    reason = devices(tmp_path)
    assert reason.isdigit() or reason.startswith("CUDA: ")
