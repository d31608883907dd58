import numpy as np
import pytest

import medkern
from arrays import channels_last, strided
from medkern import kernels
from reference import optim as reference

SHAPES = [(), (1,), (3,), (15,), (16,), (17,), (4, 33), (2, 3, 5, 7), (0, 3)]
# A step is about ten roundings of numbers of size 1 at most; float32 constants such as beta2 add one each.
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-14}
STEPS = 3


def copies(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


def check(found, expected, dtype):
    for one, other in zip(found, expected, strict=True):
        if one is not None:
            assert one.dtype == dtype
            np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    "momentum,dampening,weight_decay,nesterov",
    [(0, 0, 0, False), (0, 0, 0.1, False), (0.9, 0, 0, False), (0.8, 0.3, 0.1, False), (0.9, 0, 0.1, True)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_sgd(isa, rng, shape, dtype, momentum, dampening, weight_decay, nesterov):
    param = np.array(rng.uniform(-1, 1, shape), dtype)
    buffer = np.zeros_like(param) if momentum else None
    expected = copies(param, buffer)
    for _ in range(STEPS):
        grad = np.array(rng.uniform(-1, 1, shape), dtype)
        before = grad.copy()
        kernels.sgd_step(param, grad, buffer, 0.1, momentum, dampening, weight_decay, nesterov)
        expected = reference.sgd_step(
            expected[0],
            grad.astype(np.float64),
            expected[1],
            0.1,
            momentum,
            dampening,
            weight_decay,
            nesterov,
        )
        np.testing.assert_array_equal(grad, before)
    check((param, buffer), expected, dtype)


@pytest.mark.parametrize("weight_decay,decoupled", [(0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_adam(isa, rng, shape, dtype, weight_decay, decoupled):
    param = np.array(rng.uniform(-1, 1, shape), dtype)
    m, v = np.zeros_like(param), np.zeros_like(param)
    expected = copies(param, m, v)
    for step in range(1, STEPS + 1):
        grad = np.array(rng.uniform(-1, 1, shape), dtype)
        before = grad.copy()
        options = (step, 0.1, 0.8, 0.99, 1e-6, weight_decay, decoupled)
        kernels.adam_step(param, grad, m, v, *options)
        expected = reference.adam_step(expected[0], grad.astype(np.float64), *expected[1:], *options)
        np.testing.assert_array_equal(grad, before)
    check((param, m, v), expected, dtype)


def test_the_first_adam_step_has_the_size_of_lr(rng):
    # m and v are nearly 0 then: all depends on the correction of their bias.
    param, grad = np.zeros(5), rng.standard_normal(5)
    kernels.adam_step(param, grad, np.zeros(5), np.zeros(5), 1, 1e-3)
    np.testing.assert_allclose(param, -1e-3 * np.sign(grad), rtol=1e-6)


def test_the_correction_of_the_bias_ends():
    param = np.zeros(1)
    kernels.adam_step(param, np.zeros(1), np.ones(1), np.ones(1), 2**62, 1.0, eps=0)
    np.testing.assert_allclose(param, -0.9 / np.sqrt(0.999), rtol=1e-12)


def test_channels_last_parameters_and_gradients_of_another_layout(rng):
    values, grad = (rng.standard_normal((4, 3, 3, 3)).astype(np.float32) for _ in range(2))
    expected = values.copy()
    kernels.sgd_step(expected, grad, np.zeros_like(values), 0.1, 0.9)
    for layout in (np.ascontiguousarray, channels_last):
        for grad_layout in (np.ascontiguousarray, channels_last, strided):
            param = layout(values.copy())
            buffer = layout(np.zeros_like(values))
            kernels.sgd_step(param, grad_layout(grad), buffer, 0.1, 0.9)
            np.testing.assert_array_equal(param, expected)


def test_same_bits_at_any_thread_count(rng):
    values, grad = (rng.standard_normal(50_001).astype(np.float32) for _ in range(2))
    threads = medkern.get_num_threads()
    runs = []
    try:
        for count in (1, 2, 3):
            medkern.set_num_threads(count)
            state = [values.copy(), *(np.zeros_like(values) for _ in range(3))]
            kernels.adam_step(state[0], grad, state[1], state[2], 1, 0.1, weight_decay=0.1)
            kernels.sgd_step(state[0], grad, state[3], 0.1, 0.9)
            runs.append(state)
    finally:
        medkern.set_num_threads(threads)
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])


def test_nan_and_infinity_stay_in_their_element(isa):
    param, grad = np.zeros(20), np.ones(20)
    grad[3], grad[18] = np.nan, np.inf
    kernels.sgd_step(param, grad, None, 0.1)
    assert np.isnan(param[3]) and param[18] == -np.inf and np.isfinite(np.delete(param, [3, 18])).all()
    param = np.zeros(20)
    kernels.adam_step(param, grad, np.zeros(20), np.zeros(20), 1, 0.1)
    assert np.isnan(param[[3, 18]]).all() and np.isfinite(np.delete(param, [3, 18])).all()


ZEROS = np.zeros((2, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(lr=-1.0), ValueError, "lr must be finite and at least 0, got -1"),
        (dict(lr=float("nan")), ValueError, "lr must be finite and at least 0, got"),
        (dict(momentum=-0.5), ValueError, "momentum must be finite and at least 0, got -0.5"),
        (dict(weight_decay=float("inf")), ValueError, "weight_decay must be finite"),
        (dict(dampening=float("inf")), ValueError, "dampening must be finite"),
        (dict(nesterov=True, momentum=0.0), ValueError, "nesterov needs a momentum above 0"),
        (dict(nesterov=True, dampening=0.5), ValueError, "a dampening of 0, got 0.9 and 0.5"),
        (dict(momentum_buffer=None), ValueError, "momentum_buffer must be given with a momentum of 0.9"),
        (dict(grad=ZEROS[:1]), ValueError, r"grad must have shape \(2, 3, 4, 4\), got \(1, 3, 4, 4\)"),
        (dict(grad=ZEROS.astype(np.float64)), TypeError, "grad must be float32 as param is, got float64"),
        (dict(param=np.zeros(2, np.int64)), TypeError, "param must be float32 or float64, got int64"),
        (dict(param=strided(ZEROS)), ValueError, "param must be contiguous or channels-last"),
        (dict(param=ZEROS[::-1]), ValueError, "param must be aligned and must not have negative strides"),
        (dict(param=np.broadcast_to(np.float32(0), (2, 3, 4, 4))), ValueError, "param is read-only"),
        (
            dict(momentum_buffer=channels_last(ZEROS)),
            ValueError,
            "momentum_buffer must have the memory layout",
        ),
    ],
)
def test_bad_sgd_arguments_are_named(options, error, message):
    arguments = dict(param=ZEROS.copy(), grad=ZEROS, momentum_buffer=ZEROS.copy(), lr=0.1, momentum=0.9)
    with pytest.raises(error, match=message):
        kernels.sgd_step(**arguments | options)


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(step=0), ValueError, "step must be at least 1, got 0"),
        (dict(lr=float("inf")), ValueError, "lr must be finite"),
        (dict(beta1=1.0), ValueError, "beta1 must be at least 0 and below 1, got 1"),
        (dict(beta2=-0.1), ValueError, "beta2 must be at least 0 and below 1, got -0.1"),
        (dict(eps=-1e-8), ValueError, "eps must be finite and at least 0"),
        (dict(weight_decay=-1.0), ValueError, "weight_decay must be finite and at least 0"),
        (dict(exp_avg=ZEROS[0].copy()), ValueError, "exp_avg must have shape"),
        (dict(exp_avg_sq=ZEROS.astype(np.float64)), TypeError, "exp_avg_sq must be float32"),
    ],
)
def test_bad_adam_arguments_are_named(options, error, message):
    arguments = dict(
        param=ZEROS.copy(), grad=ZEROS, exp_avg=ZEROS.copy(), exp_avg_sq=ZEROS.copy(), step=1, lr=0.1
    )
    with pytest.raises(error, match=message):
        kernels.adam_step(**arguments | options)


def test_shared_memory_is_refused():
    param = np.zeros(4)
    with pytest.raises(ValueError, match="grad must not share memory with param"):
        kernels.sgd_step(param, param, None, 0.1)
    state = np.zeros(4)
    with pytest.raises(ValueError, match="exp_avg_sq must not share memory with exp_avg"):
        kernels.adam_step(param, np.zeros(4), state, state, 1, 0.1)


def test_many_parameters_at_once_have_the_bits_of_each_alone(isa, rng):
    # Around the number that one launch of a device takes, of all sizes; one lies where vectors can't be used.
    sizes = [0, 1, 3, 64, 1031, *([5] * 70)]
    params = [rng.standard_normal(size).astype(np.float32) for size in sizes]
    params[4] = rng.standard_normal(1032).astype(np.float32)[1:]
    grads = [rng.standard_normal(p.shape).astype(np.float32) for p in params]
    states = [[np.abs(rng.standard_normal(p.shape)).astype(np.float32) for p in params] for _ in range(2)]

    def fresh():
        return [p.copy() if i != 4 else np.append(0, p).astype(np.float32)[1:] for i, p in enumerate(params)]

    for many, one, count, options in [
        (kernels.sgd_steps, kernels.sgd_step, 1, (0.1, 0.9, 0.2, 0.3)),
        (kernels.sgd_steps, kernels.sgd_step, 0, (0.1,)),
        (kernels.adam_steps, kernels.adam_step, 2, (3, 0.1, 0.8, 0.9, 1e-6, 0.1, True)),
    ]:
        together, apart = fresh(), fresh()
        kept = [[[s.copy() for s in of] for of in states[:count]] for _ in range(2)]
        many(together, grads, *(kept[0] if count else [None]), *options)
        for i, p in enumerate(apart):
            one(p, grads[i], *([of[i] for of in kept[1]] if count else [None]), *options)
        for a, b in zip([together, *kept[0]], [apart, *kept[1]], strict=True):
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)
    kernels.sgd_steps([], [], None, 0.1)


def test_lists_are_checked():
    x, y = np.zeros(3, np.float32), np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="sgd_step: grads must have as many arrays as params, 1, got 2"):
        kernels.sgd_steps([x], [y, y], None, 0.1)
    with pytest.raises(ValueError, match="momentum_buffers must have as many arrays as params, 1, got 0"):
        kernels.sgd_steps([x], [y], [], 0.1, 0.9)
    with pytest.raises(ValueError, match="sgd_step: all parameters must have one dtype and device"):
        kernels.sgd_steps([x, np.zeros(2)], [y, np.ones(2)], None, 0.1)
    with pytest.raises(ValueError, match="exp_avg_sqs must have as many arrays as params, 1, got 2"):
        kernels.adam_steps([x], [y], [y.copy()], [y.copy(), y.copy()], 1, 0.1)
    assert not x.any()
