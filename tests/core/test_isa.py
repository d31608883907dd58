import os
import subprocess
import sys

import pytest

from medkern import _C, DeviceError

USE = """
import numpy as np, medkern
from medkern import _C
medkern.kernels.max_pool2d(np.zeros((1, 1, 4, 4), np.float32), 2)
print(_C.isa_active())
"""


def run_with(isa):
    return subprocess.run(
        [sys.executable, "-c", USE],
        env={**os.environ, "MEDKERN_ISA": isa},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", _C.isa_names())
def test_forced_choice_is_honoured(name):
    result = run_with(name)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == name


def test_best_is_chosen_without_one():
    assert run_with("").stdout.strip() == _C.isa_names()[0]


def test_unknown_choice_is_an_error():
    result = run_with("sse9")
    assert result.returncode == 1
    assert "DeviceError: MEDKERN_ISA: unknown instruction set 'sse9'; this build has" in result.stderr


def test_unsupported_choice_is_an_error():
    missing = set(_C.isa_names(supported_only=False)) - set(_C.isa_names())
    if not missing:
        pytest.skip("this processor runs every instruction set of the build")
    name = sorted(missing)[0]
    assert f"can't run instruction set '{name}'" in run_with(name).stderr


def test_select_checks_the_name():
    before = _C.isa_active()
    with pytest.raises(DeviceError, match="unknown instruction set 'mmx'"):
        _C.isa_select("mmx")
    assert _C.isa_active() == before
