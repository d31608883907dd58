"""The emulator finds faults planted in a kernel that is fed by the copy engine: tests of it can fail."""

import os
import subprocess
import sys

import emulator
import pytest

SOURCE = emulator.CSRC / "kernels" / "conv" / "conv_wgmma.sm_90a.cu"
PROGRAM = """
import numpy as np
import medkern
from medkern import _C, kernels

medkern.set_default_device("cuda")
x = np.arange(2 * 128 * 15 * 14, dtype=np.float32).reshape(2, 128, 15, 14) % 7 - 3
w = np.arange(64 * 128 * 9, dtype=np.float32).reshape(64, 128, 3, 3) % 5 - 2
y = kernels.conv2d(*(kernels.copy(_C.Array(a), dtype="bfloat16") for a in (x, w)), padding=1)
y = kernels.copy(y, dtype="float32").numpy()
padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
expected = 0
for i, j in np.ndindex(3, 3):
    expected = expected + np.einsum("nchw,oc->nohw", padded[:, :, i : i + 15, j : j + 14], w[:, :, i, j])
if not np.allclose(y, expected, rtol=2**-8):
    raise SystemExit("the result is wrong")
"""
FAULTS = {
    "none": ("", "", None),
    "weights that are not waited for": (
        "          mbarrier_wait(barriers.b_full + b_turn.stage, b_turn.parity);\n",
        "",
        "more than the 1 arrivals of an mbarrier",
    ),
    "stages given back too early": ("            wgmma_wait<1>();\n", "", "an operand was overwritten"),
    "a coordinate of another axis": ("x[i] + uw * work.w.in_tap_step", "x[i] + uh", "the result is wrong"),
    "bytes that never come": (
        "mbarrier_arrive_expect(b_full, kWeightBytes)",
        "mbarrier_arrive_expect(b_full, kWeightBytes + 16)",
        "no thread can go on",
    ),
    "rows of the wrong tap": ("a_stage + tap * down", "a_stage", "the result is wrong"),
}


@pytest.mark.skipif(emulator.compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_shows(tmp_path, fault):
    right, wrong, message = FAULTS[fault]
    text = SOURCE.read_text()
    assert right in text
    changed = tmp_path / SOURCE.name
    changed.write_text(text.replace(right, wrong, 1))
    others = (emulator.CSRC / "kernels").glob("*/*.cu")
    library = emulator.build([changed, *(source for source in others if source != SOURCE)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"MEDKERN_CUDA": "emulated", "MEDKERN_CUDA_EMULATOR": str(library)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == (message is None), done.stderr
    assert message is None or message in done.stderr
