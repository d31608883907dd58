import numpy as np
import pytest

import medkern
from medkern import nn


class Scale(nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.weight = nn.Parameter(np.arange(size, dtype=np.float32))
        self.register_buffer("offset", medkern.tensor(np.ones(size, np.float32)))
        self.register_buffer("steps", medkern.tensor(7))
        self.scratch = medkern.tensor(1.0)  # neither a parameter nor a buffer

    def forward(self, x, times=1):
        return (x, times)

    def extra_repr(self):
        return f"size={self.weight.size}"


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Scale()
        self.second = nn.Sequential(Scale(2), Scale(4))


NAMES = ["first.weight", "second.0.weight", "second.1.weight"]


def test_a_parameter_requires_a_gradient_and_shares_a_tensors_memory():
    values = medkern.tensor(np.zeros(2, np.float32))
    parameter = nn.Parameter(values)
    assert parameter.requires_grad and parameter.is_leaf and isinstance(parameter, medkern.Tensor)
    parameter.copy_([1, 2])
    np.testing.assert_array_equal(values.numpy(), [1, 2])
    assert repr(parameter).startswith("Parameter containing:\ntensor(")


def test_a_parameter_must_be_float():
    with pytest.raises(TypeError, match="Parameter: only float tensors can require a gradient, got int64"):
        nn.Parameter([1, 2])
    assert nn.Parameter([1, 2], requires_grad=False).dtype == np.int64


def test_the_tree_is_found_in_attributes():
    net = Pair()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [p.shape for p in net.parameters()] == [(3,), (2,), (4,)]
    assert [name for name, _ in net.named_buffers()][:2] == ["first.offset", "first.steps"]
    assert len(list(net.buffers())) == 6
    assert [name for name, _ in net.named_modules()] == ["", "first", "second", "second.0", "second.1"]
    assert [name for name, _ in net.named_children()] == ["first", "second"]
    assert list(net.children()) == [net.first, net.second]
    assert next(net.modules()) is net


def test_shared_parts_come_once_but_are_saved_under_each_name():
    net = Pair()
    net.third = net.first
    net.first.again = net.first.weight
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert len(list(net.modules())) == 5
    assert {"first.again", "third.weight"} <= set(net.state_dict())


def test_a_call_runs_forward():
    assert Scale()(2, times=3) == (2, 3)
    with pytest.raises(NotImplementedError, match="Pair has no forward"):
        Pair()(1)


def test_state_goes_round():
    a, b = Pair(), Pair()
    for i, value in enumerate(a.state_dict().values()):
        value.copy_(np.full(value.shape, i + 1))
    state = {name: value.numpy() for name, value in a.state_dict().items()}
    assert b.load_state_dict(state) == ([], [])
    for name, value in b.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[name])
        assert not value.requires_grad
    assert b.first.weight._version == 1


def test_load_state_dict_lists_every_fault_and_changes_nothing():
    net = Scale()
    state = {
        "weight": np.zeros((3, 1), np.float32),
        "steps": np.float32(1.5),
        "extra": np.zeros((2, 2)),
    }
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict: Scale: missing offset (3,); unexpected extra (2, 2); "
        "weight must have shape (3,), got (3, 1); steps must have dtype int64, got float32"
    )
    np.testing.assert_array_equal(net.weight.numpy(), [0, 1, 2])


def test_load_state_dict_not_strict():
    net = Scale()
    result = net.load_state_dict({"weight": [4.0, 5.0, 6.0], "extra": 1}, strict=False)
    assert result.missing == ["offset", "steps"] and result.unexpected == ["extra"]
    np.testing.assert_array_equal(net.weight.numpy(), [4, 5, 6])
    with pytest.raises(ValueError, match=r"weight must have shape \(3,\), got \(2,\)"):
        net.load_state_dict({"weight": [4.0, 5.0]}, strict=False)


def test_train_and_eval_reach_every_module():
    net = Pair()
    assert all(m.training for m in net.modules())
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())


def test_zero_grad_and_requires_grad():
    net = Scale()
    net.weight.grad = medkern.tensor(np.ones(3))
    net.zero_grad()
    assert net.weight.grad is None
    assert net.requires_grad_(False) is net and not net.weight.requires_grad


def test_apply_goes_from_the_leaves_up():
    net = Pair()
    order = []
    assert net.apply(lambda m: order.append(m)) is net
    assert order == [net.first, net.second[0], net.second[1], net.second, net]


def test_to_changes_floats_only_and_keeps_the_parameters_themselves():
    net = Scale()
    weight = net.weight
    weight.grad = medkern.tensor(np.ones(3, np.float32))
    assert net.to("float64") is net
    assert net.weight is weight and weight.dtype == np.float64 and weight.grad.dtype == np.float64
    assert net.offset.dtype == np.float64 and net.steps.dtype == np.int64
    with pytest.raises(TypeError, match="to: dtype must be float32 or float64, got int32"):
        net.to(np.int32)


def test_repr_is_a_tree():
    assert repr(Pair()) == (
        "Pair(\n  (first): Scale(size=3)\n  (second): Sequential(\n    (0): Scale(size=2)\n"
        "    (1): Scale(size=4)\n  )\n)"
    )


def test_register_buffer_is_checked():
    net = Scale()
    net.register_buffer("offset", None)  # a buffer may be left out
    assert "offset" not in net.state_dict()
    with pytest.raises(TypeError, match="register_buffer: value must be a Tensor or None, got int"):
        net.register_buffer("n", 3)
    with pytest.raises(ValueError, match="register_buffer: Scale already has an attribute 'weight'"):
        net.register_buffer("weight", None)


def test_a_parameter_is_not_replaced_by_a_tensor():
    net = Scale()
    with pytest.raises(TypeError, match=r"Scale.weight is a Parameter, got a plain Tensor"):
        net.weight = medkern.tensor(np.zeros(3))
    net.weight = None
    assert list(net.parameters()) == []


def test_module_list():
    layers = nn.ModuleList([Scale(1), Scale(2)])
    layers.append(Scale(3))
    layers.extend([Scale(4)])
    assert len(layers) == 4 and [m.weight.size for m in layers] == [1, 2, 3, 4]
    assert layers[-1].weight.size == 4
    layers[-1] = Scale(5)
    assert [name for name, _ in layers.named_parameters()] == [f"{i}.weight" for i in range(4)]
    assert layers[3].weight.size == 5
    with pytest.raises(TypeError, match="ModuleList: expected a Module, got int"):
        layers.append(3)
    with pytest.raises(IndexError):
        layers[4]


def test_sequential_passes_on():
    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x

    assert nn.Sequential(Twice(), Twice(), Twice())(1) == 8
    assert nn.Sequential()(3) == 3


def test_module_dict():
    parts = nn.ModuleDict({"a": Scale(1)})
    parts["b"] = Scale(2)
    parts["a"] = Scale(3)
    assert list(parts) == ["a", "b"] and len(parts) == 2 and "b" in parts and "c" not in parts
    assert [m.weight.size for m in parts.values()] == [3, 2]
    assert [name for name, _ in parts.items()] == list(parts.keys())
    assert parts["b"].weight.size == 2
    with pytest.raises(KeyError):
        parts["c"]
    for name in ["", "x.y", "forward", "training"]:
        with pytest.raises(ValueError, match=r"ModuleDict: a name must not be empty"):
            parts[name] = Scale()
