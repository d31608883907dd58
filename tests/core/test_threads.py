import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import medkern
from medkern import kernels


@pytest.fixture(autouse=True)
def threads_restored():
    before = medkern.get_num_threads()
    yield
    medkern.set_num_threads(before)


def large_case():
    x = np.random.default_rng(0).standard_normal((2, 16, 64, 64)).astype(np.float32)
    return x, kernels.max_pool2d(x, 3, 1, 1)


def in_new_process(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_count_is_set_and_read():
    medkern.set_num_threads(3)
    assert medkern.get_num_threads() == 3


@pytest.mark.parametrize("count", [0, -1, 257])
def test_bad_count_is_named(count):
    with pytest.raises(ValueError, match=f"count must be from 1 to 256, got {count}"):
        medkern.set_num_threads(count)


def test_same_bits_at_any_count():
    x, expected = large_case()
    for count in (1, 2, 3, 5):
        medkern.set_num_threads(count)
        np.testing.assert_array_equal(kernels.max_pool2d(x, 3, 1, 1), expected)


@pytest.mark.parametrize(
    "environment,expected",
    [
        ({"MEDKERN_NUM_THREADS": "3", "OMP_NUM_THREADS": "2"}, "3"),
        ({"MEDKERN_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, "5"),
        ({"MEDKERN_NUM_THREADS": "many", "OMP_NUM_THREADS": "5,2"}, "5"),
    ],
)
def test_first_count_comes_from_the_environment(environment, expected):
    assert in_new_process("import medkern; print(medkern.get_num_threads())", **environment) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_first_count_respects_affinity():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "import medkern; print(medkern.get_num_threads())"
    )
    assert in_new_process(code, MEDKERN_NUM_THREADS="", OMP_NUM_THREADS="") == "1"


def test_several_python_threads_at_once():
    x, expected = large_case()
    medkern.set_num_threads(2)
    wrong = []

    def work():
        for _ in range(10):
            if not np.array_equal(kernels.max_pool2d(x, 3, 1, 1), expected):
                wrong.append(threading.get_ident())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for count in (1, 4, 2, 3):  # while the others compute
        medkern.set_num_threads(count)
    for worker in workers:
        worker.join()
    assert not wrong


# Forked from a fresh process, for pytest's own threads are none of this test's business. The parent has
# used its threads, which the child doesn't inherit, and another thread keeps the allocator busy.
FORK = """
import os, threading
import numpy as np, medkern
from medkern import kernels
medkern.set_num_threads(3)
x = np.random.default_rng(0).standard_normal((2, 16, 64, 64)).astype(np.float32)
expected = kernels.max_pool2d(x, 3, 1, 1)
stop = threading.Event()
def busy():
    while not stop.is_set():
        kernels.max_pool2d(x[:1, :1, :8, :8], 2)
other = threading.Thread(target=busy)
other.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        same = np.array_equal(kernels.max_pool2d(x, 3, 1, 1), expected)
        os._exit(0 if same and medkern.get_num_threads() == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(kernels.max_pool2d(x, 3, 1, 1), expected)
stop.set()
other.join()
print("ok")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_use_in_a_forked_child():
    assert in_new_process("import warnings; warnings.simplefilter('ignore')\n" + FORK) == "ok"
