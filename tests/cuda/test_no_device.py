"""A machine without a GPU: the CPU's work is unaffected, and who asks for CUDA is told why there is none."""

import os
import subprocess
import sys

import pytest

SWITCHED_OFF = {**os.environ, "MEDKERN_CUDA": "off"}


def run(code, environment=SWITCHED_OFF):
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_opens_nothing():
    names = run(
        "import medkern, numpy as np\n"
        "medkern.kernels.relu(np.ones(3))\n"
        "print(*{line.split('/')[-1].strip() for line in open('/proc/self/maps')})",
        {name: value for name, value in os.environ.items() if not name.startswith("MEDKERN_CUDA")},
    )
    assert "_C" in names and "cuda" not in names


@pytest.mark.parametrize(
    "request",
    [
        "medkern.zeros((2,), device='cuda')",
        "medkern.tensor([1.0]).to('cuda')",
        "medkern.nn.Linear(2, 1).cuda()",
        "medkern.set_default_device('cuda')",
        "medkern.cuda.device_count()",
        "medkern.cuda.synchronize()",
        "medkern.cuda.Stream()",
        "medkern.cuda.Event()",
        "medkern.cuda.memory_stats()",
        "medkern.Trainer(medkern.nn.Linear(2, 1), None, None, device='cuda')",
    ],
)
def test_a_request_says_why(request):
    code = (
        "import medkern\n"
        "assert not medkern.cuda.is_available()\n"
        f"try:\n    {request}\n"
        "except medkern.DeviceError as error:\n    print(error)"
    )
    assert run(code) == "CUDA is switched off by MEDKERN_CUDA=off\n"


def test_the_command_line_says_why():
    code = "import medkern.cli; medkern.cli.main(['info'])"
    assert "none: CUDA is switched off by MEDKERN_CUDA=off" in run(code)
