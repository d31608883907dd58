"""Plans keep the weights in the kernels' order, as the emulator counts launches."""

import ctypes
import os

import numpy as np
import pytest

import medkern
from arrays import channels_last
from medkern import _C, kernels, models

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif("MEDKERN_CUDA_EMULATOR" not in os.environ, reason="the emulator counts"),
]


@pytest.fixture(autouse=True)
def on_cuda():
    with medkern.device("cuda"):
        yield
    medkern.cuda.synchronize()


def arrangements():
    """How often weights were arranged so far."""
    count = ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_launches
    return count(b"conv_arrange_weights")


# Channels that are whole vectors and not, few, of groups, one for each result; x shape, weight shape, groups.
CASES = [
    ((1, 8, 5, 6), (8, 8, 3, 3), 1),
    ((1, 6, 5, 6), (5, 6, 3, 3), 1),
    ((1, 3, 7, 6), (8, 3, 3, 3), 1),
    ((1, 12, 5, 6), (8, 6, 3, 3), 2),
    ((1, 6, 5, 6), (6, 1, 3, 3), 6),
]


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape,weight_shape,groups", CASES)
def test_a_plan_arranges_weights_once(rng, shape, weight_shape, groups, name):
    x = _C.Array(channels_last(rng.standard_normal(shape)))
    x = kernels.copy(x, dtype=name, channels_last=True)
    weight = kernels.copy(_C.Array(rng.standard_normal(weight_shape)), dtype=name)
    expected = kernels.conv2d(x, weight, padding=1, groups=groups)
    before = arrangements()
    plan = kernels.conv_plan(weight, padding=1, groups=groups)
    packed = arrangements()
    assert packed > before
    for _ in range(2):
        y = plan(x)
        np.testing.assert_array_equal(*(kernels.copy(a, dtype="float64").numpy() for a in (y, expected)))
    assert arrangements() == packed
    kernels.conv2d(x, weight, padding=1, groups=groups)
    assert arrangements() > packed


def test_transposed_plans_and_those_of_other_paddings(rng):
    x = rng.standard_normal((1, 6, 5, 4)).astype(np.float32)
    weight = rng.standard_normal((6, 5, 2, 2)).astype(np.float32)
    expected = kernels.conv_transpose2d(x, weight, stride=2)
    plan = kernels.conv_plan(weight, stride=2, transposed=True)
    before = arrangements()
    np.testing.assert_array_equal(plan(x), expected)
    assert arrangements() == before
    weight = rng.standard_normal((7, 6, 3, 3)).astype(np.float32)
    expected = kernels.conv2d(x, weight, padding=1)
    whole = _C.ConvPlan(weight, None, 2, 1, 0, 1, 1, False, 0, 0, 0)
    shared = whole.padded(1)
    before = arrangements()
    np.testing.assert_array_equal(shared.run(_C.Array(x, "cuda"), False, None).numpy(), expected)
    assert arrangements() == before


def test_a_compiled_model_arranges_its_weights_once(rng, sooner):
    model = models.UNet(1, 2, filters=(4, 6), activation=None).to("cuda")
    x = rng.standard_normal((1, 1, 8, 8)).astype(np.float32)
    compiled = medkern.compile(model, x)
    compiled(x)
    before = arrangements()
    compiled(x)
    assert arrangements() == before
