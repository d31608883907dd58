import json

import numpy as np
import pytest

import medkern
from medkern import optim
from medkern.nn import Parameter
from reference import optim as reference

# Each step rounds a few times; five steps in float32 stay well inside 1e-5 of values near 1.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def tensor_like(values):
    return medkern.tensor(np.array(values))


def run(optimizer, parameter, grads):
    for grad in grads:
        parameter.grad = tensor_like(grad)
        optimizer.step()


SGD_OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.2},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]
ADAM_OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
    {"lr": 0.1, "weight_decay": 0.3},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", SGD_OPTIONS)
def test_sgd(rng, options, dtype):
    p, grads = rng.normal(size=(3, 11)).astype(dtype), rng.normal(size=(5, 3, 11)).astype(dtype)
    parameter = Parameter(p)
    run(optim.SGD([parameter], **options), parameter, grads)
    expected = reference.sgd(p.astype(np.float64), grads.astype(np.float64), **options)
    np.testing.assert_allclose(parameter.numpy(), expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("options", ADAM_OPTIONS)
def test_adam(rng, options, decoupled, dtype):
    p, grads = rng.normal(size=(3, 11)).astype(dtype), rng.normal(size=(5, 3, 11)).astype(dtype)
    parameter = Parameter(p)
    run((optim.AdamW if decoupled else optim.Adam)([parameter], **options), parameter, grads)
    if decoupled:
        options = {"weight_decay": 0.01, **options}
    expected = reference.adam(p.astype(np.float64), grads.astype(np.float64), decoupled=decoupled, **options)
    np.testing.assert_allclose(parameter.numpy(), expected, rtol=0, atol=TOLERANCE[dtype])


def test_groups_have_options_of_their_own(rng):
    a, b = Parameter(np.ones(2)), Parameter(np.ones(2))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.25)
    a.grad = b.grad = medkern.tensor(np.ones(2))
    optimizer.step()
    np.testing.assert_array_equal(a.numpy(), [0.75] * 2)
    np.testing.assert_array_equal(b.numpy(), [0.5] * 2)
    np.testing.assert_array_equal(a.grad.numpy(), [1, 1])
    optimizer.zero_grad()
    assert a.grad is None and b.grad is None


def test_a_step_counts_as_a_change_in_place_and_passes_over_what_has_no_gradient():
    a, b = Parameter(np.ones((1, 2))), Parameter(np.ones((1, 2)))
    y = medkern.functional.linear(a, a)
    a.grad = medkern.tensor(np.ones((1, 2)))
    optim.SGD([a, b], lr=0.5).step()
    assert (a._version, b._version) == (1, 0)
    np.testing.assert_array_equal(b.numpy(), [[1, 1]])
    with pytest.raises(RuntimeError, match="changed in place after forward"):
        y.backward()


def make(kind, parameter):
    if kind == "sgd":
        return optim.SGD([parameter], lr=0.1, momentum=0.9)
    return (optim.Adam if kind == "adam" else optim.AdamW)([parameter], lr=0.1)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_saved_state_goes_on_exactly(rng, kind):
    grads = rng.normal(size=(6, 5)).astype(np.float32)
    straight = Parameter(np.ones(5, np.float32))
    run(make(kind, straight), straight, grads)

    first = Parameter(np.ones(5, np.float32))
    optimizer = make(kind, first)
    run(optimizer, first, grads[:3])
    state = optimizer.state_dict()
    # Options and counters survive JSON; arrays are plain NumPy.
    state["param_groups"] = json.loads(json.dumps(state["param_groups"]))
    second = Parameter(first.numpy())
    resumed = make(kind, second)
    resumed.load_state_dict(state)
    run(resumed, second, grads[3:])
    np.testing.assert_array_equal(second.numpy(), straight.numpy())
    # What was loaded is a copy.
    np.testing.assert_array_equal(first.numpy(), reference_after(kind, grads[:3]))


def reference_after(kind, grads):
    parameter = Parameter(np.ones(5, np.float32))
    run(make(kind, parameter), parameter, grads)
    return parameter.numpy()


def test_load_state_dict_is_checked_and_changes_nothing_on_error():
    p = Parameter(np.ones(3, np.float32))
    optimizer = optim.Adam([p], lr=0.1)
    run(optimizer, p, np.ones((1, 3), np.float32))
    other = optim.Adam([Parameter(np.ones(4, np.float32))], lr=0.3)
    with pytest.raises(ValueError, match=r"Adam.load_state_dict: exp_avg must have shape \(4,\), got \(3,\)"):
        other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.3 and other.state_dict()["state"] == {}
    two = optim.Adam([Parameter(np.ones(3)), Parameter(np.ones(3))])
    with pytest.raises(ValueError, match=r"groups must hold \[2\] parameters, got \[1\]"):
        two.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"SGD.load_state_dict: a group must have the options"):
        optim.SGD([Parameter(np.ones(3))]).load_state_dict(optimizer.state_dict())
    wrong = optimizer.state_dict()
    wrong["state"] = {1: wrong["state"][0]}
    with pytest.raises(ValueError, match=r"Adam.load_state_dict: state of parameter 1, of 1"):
        optimizer.load_state_dict(wrong)


def test_parameters_are_checked():
    p = Parameter(np.ones(3))
    with pytest.raises(ValueError, match="SGD: params must hold at least one parameter, got none"):
        optim.SGD([])
    with pytest.raises(ValueError, match=r"Adam: params holds a parameter of shape \(3,\) twice"):
        optim.Adam([p, p])
    with pytest.raises(ValueError, match=r"Adam: params holds a parameter of shape \(3,\) twice"):
        optim.Adam([{"params": [p]}, {"params": [p]}])
    with pytest.raises(TypeError, match="SGD: params must hold leaf tensors, got ndarray"):
        optim.SGD([np.ones(3)])
    with pytest.raises(TypeError, match="SGD: params must hold leaf tensors, got a computed Tensor"):
        weight = Parameter(np.ones((2, 3)))
        optim.SGD([medkern.functional.linear(p, weight)])
    with pytest.raises(
        ValueError, match=r"SGD: a group must have params and may have .* got \['a', 'params'\]"
    ):
        optim.SGD([{"params": [p], "a": 1}])
    with pytest.raises(ValueError, match="SGD: a group must have params"):
        optim.SGD([{"lr": 1.0}])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.SGD(p, lr=-1), "SGD: lr must be at least 0, got -1"),
        (lambda p: optim.SGD(p, lr=float("nan")), "SGD: lr must be at least 0, got nan"),
        (lambda p: optim.SGD(p, momentum=-1), "SGD: momentum must be at least 0, got -1"),
        (lambda p: optim.SGD(p, weight_decay=-1), "SGD: weight_decay must be at least 0, got -1"),
        (lambda p: optim.SGD(p, nesterov=True), "SGD: nesterov needs a momentum above 0"),
        (lambda p: optim.Adam(p, eps=-1), "Adam: eps must be at least 0, got -1"),
        (lambda p: optim.AdamW(p, betas=(0.9, 1.0)), r"AdamW: betas must be two numbers in \[0, 1\)"),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make([Parameter(np.ones(3))])


def test_repr_shows_the_groups():
    text = repr(optim.SGD([Parameter(np.ones(3))], lr=0.5))
    assert text.startswith("SGD(\n  group 0: 1 parameters, lr=0.5, momentum=0.0")
