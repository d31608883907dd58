"""No argument, however wrong, crashes a public function: it succeeds or raises one of four errors."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"
CASES = 400  # per function: enough for most functions to be called with success as well


@pytest.mark.parametrize("namespace", ["medkern.kernels", "medkern.functional"])
def test_hostile_arguments(namespace, tmp_path):
    log = tmp_path / "case"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", FUZZ, namespace, str(CASES), log],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"did not end: {log.read_text()}")
    assert done.returncode == 0, f"{log.read_text()}\nended with {done.returncode}\n{done.stderr[-3000:]}"
    # The fuzzing is worth something only if it gets past the checks now and then.
    assert "max_pool2d" in done.stdout.split()
