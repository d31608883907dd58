"""No argument, however wrong, crashes a public function: it succeeds or raises one of four errors."""

import subprocess
import sys
from pathlib import Path

import pytest

import medkern

HERE = Path(__file__).parent
# Per function: on the CPU enough for most functions to be called with success as well.
CASES = {"cpu": 400, "cuda": 200}
CUDA = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device and no emulator"),
]


def run(log, program, *arguments):
    """What the program prints; fails with the case it was at if it ends in any other way than well."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", HERE / program, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"did not end: {log.read_text()}")
    assert done.returncode == 0, f"{log.read_text()}\nended with {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout.split()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("namespace", ["medkern.kernels", "medkern.functional"])
def test_hostile_arguments(namespace, device, tmp_path):
    log = tmp_path / "case"
    succeeded = run(log, "fuzz.py", namespace, str(CASES[device]), log, device)
    # The fuzzing is worth something only if it gets past the checks now and then.
    assert "max_pool2d" in succeeded


@pytest.mark.parametrize("cuda", [False, pytest.param(True, marks=CUDA)])
def test_hostile_arguments_of_devices(cuda, tmp_path):
    log = tmp_path / "case"
    succeeded = run(log, "fuzz_device.py", "400", log)
    assert "mk_device_alloc" in succeeded
    assert not cuda or "mk_graph_launch" in succeeded
