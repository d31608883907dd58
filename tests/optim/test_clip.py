import math

import numpy as np
import pytest

import medkern
from medkern.nn import Parameter
from medkern.optim import clip_grad_norm_, clip_grad_value_


def make_parameters(grads):
    parameters = [Parameter(np.zeros_like(g)) for g in grads]
    for parameter, g in zip(parameters, grads, strict=True):
        parameter.grad = medkern.tensor(g)
    return parameters


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm_type", [1, 2, 3, math.inf])
def test_clip_grad_norm(rng, norm_type, dtype):
    grads = [rng.normal(size=(3, 17)).astype(dtype), rng.normal(size=5).astype(dtype)]
    flat = np.concatenate([g.ravel() for g in grads]).astype(np.float64)
    norm = np.linalg.norm(flat, norm_type)
    parameters = [*make_parameters(grads), Parameter(np.zeros(2))]
    before = [p.grad for p in parameters]
    rtol = 1e-6 if dtype == np.float32 else 1e-12
    assert float(clip_grad_norm_(parameters, 10 * norm, norm_type)) == pytest.approx(norm, rel=rtol)
    for p, grad in zip(parameters, grads, strict=False):
        np.testing.assert_array_equal(p.grad.numpy(), grad)
    assert float(clip_grad_norm_(parameters, 0.5, norm_type)) == pytest.approx(norm, rel=rtol)
    for parameter, g in zip(parameters, grads, strict=False):
        assert parameter.grad.dtype == dtype
        np.testing.assert_allclose(parameter.grad.numpy(), g * (0.5 / (norm + 1e-6)), rtol=10 * rtol)
    # Replaced, not changed.
    np.testing.assert_array_equal(before[0].numpy(), grads[0])
    assert parameters[2].grad is None


def test_the_norm_does_not_overflow_or_vanish():
    for size in (1e30, 1e-30):
        parameters = make_parameters([np.array([3 * size, 4 * size], np.float32)])
        assert float(clip_grad_norm_(parameters, math.inf)) == pytest.approx(5 * size, rel=1e-6)


def test_the_norm_of_nothing_and_of_what_is_not_finite():
    assert clip_grad_norm_([], 1.0).item() == 0
    assert clip_grad_norm_(make_parameters([np.zeros(3, np.float32)]), 1.0).item() == 0
    for value in (math.nan, math.inf):
        parameters = make_parameters([np.array([1, 2], np.float32), np.array([value], np.float32)])
        norm = clip_grad_norm_(parameters, 1.0).item()
        assert math.isnan(norm) if math.isnan(value) else norm == math.inf


def test_clip_grad_value(rng):
    g = rng.normal(size=(3, 17)).astype(np.float32)
    parameters = [*make_parameters([g]), Parameter(np.zeros(2))]
    before = parameters[0].grad
    clip_grad_value_(parameters, 0.5)
    np.testing.assert_array_equal(parameters[0].grad.numpy(), np.clip(g, -0.5, 0.5))
    np.testing.assert_array_equal(before.numpy(), g)
    clip_grad_value_(parameters[0], 0.25)
    np.testing.assert_array_equal(parameters[0].grad.numpy(), np.clip(g, -0.25, 0.25))


def test_limits_are_checked():
    with pytest.raises(ValueError, match="clip_grad_norm_: max_norm must not be negative, got -1"):
        clip_grad_norm_([], -1)
    with pytest.raises(ValueError, match="clip_grad_norm_: norm_type must be positive, got 0"):
        clip_grad_norm_([], 1, 0)
    with pytest.raises(ValueError, match="clip_grad_value_: clip_value must not be negative, got nan"):
        clip_grad_value_([], math.nan)
