"""Operators and methods of Tensor."""

import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.testing import gradcheck


def same(tensor, expected):
    assert isinstance(tensor, medkern.Tensor)
    assert tensor.shape == np.shape(expected)
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-14)


def test_arithmetic(rng):
    a, b = rng.uniform(1, 2, (2, 3, 4))
    x, y = medkern.tensor(a), medkern.tensor(b)
    same(x + y, a + b)
    same(x - y, a - b)
    same(x * y, a * b)
    same(x / y, a / b)
    same(-x, -a)
    same(abs(-x), a)
    same(x**2, a**2)
    same(x**-0.5, a**-0.5)
    same(x + 1, a + 1)
    same(1 + x, 1 + a)
    same(1 - x, 1 - a)
    same(2 * x, 2 * a)
    same(1 / x, 1 / a)
    same(x / 2, a / 2)
    same(x - np.float64(2), a - 2)
    # NumPy arrays leave the work to Tensor.
    same(b + x, a + b)
    same(b - x, b - a)
    same(x * b, a * b)
    same(x @ y.T, a @ b.T)
    same(x @ b.T, a @ b.T)
    gradcheck(lambda x, y: (2 * x - y / x + x**3) @ (1 - y).T, [a, b], create_graph=True)


def test_comparisons(rng):
    a = rng.integers(0, 3, (3, 4)).astype(np.float32)
    x = medkern.tensor(a)
    for result, expected in [
        (x == 1, a == 1),
        (x != 1, a != 1),
        (x < 1, a < 1),
        (x <= 1, a <= 1),
        (x > 1, a > 1),
        (x >= 1, a >= 1),
        (x > 1, a > 1),
        (x == medkern.tensor(a[::-1].copy()), a == a[::-1]),
        (medkern.tensor(a.astype(np.int64)) == 2, a == 2),
    ]:
        assert result.dtype == bool
        np.testing.assert_array_equal(result.numpy(), expected)
    assert (x == "text") is False and (x != None) is True  # noqa: E711
    assert hash(x) == hash(x) and {x: 1}[x] == 1


def test_indexing(rng):
    a = rng.standard_normal((3, 4, 5))
    x = medkern.tensor(a)
    same(x[1], a[1])
    same(x[-1, ..., None, 1:4:2], a[-1, ..., None, 1:4:2])
    same(x[:, 1:1], a[:, 1:1])
    gradcheck(lambda x: x[1:, 2, ::2], [a], create_graph=True)


def test_methods(rng):
    a = rng.uniform(0.5, 1.5, (2, 3, 4))
    x = medkern.tensor(a)
    same(x.sum(), a.sum())
    same(x.sum(1), a.sum(1))
    same(x.mean((0, 2), keepdim=True), a.mean((0, 2), keepdims=True))
    same(x.max(), a.max())
    same(x.min(2), a.min(2))
    same(x.var(1), a.var(1, ddof=1))
    same(x.reshape(6, -1), a.reshape(6, -1))
    same(x.reshape((4, 6)), a.reshape(4, 6))
    same(x.permute(2, 0, 1), a.transpose(2, 0, 1))
    same(x.permute((2, 0, 1)), a.transpose(2, 0, 1))
    same(x.transpose(0, -1), a.swapaxes(0, -1))
    same(x.flatten(1), a.reshape(2, 12))
    same(x[:1].squeeze(0), a[0])
    same(x.unsqueeze(1), a[:, None])
    same(x[:, :1].expand(2, 3, 4), np.broadcast_to(a[:, :1], a.shape))
    same(x.exp(), np.exp(a))
    same(x.log(), np.log(a))
    same(x.sqrt(), np.sqrt(a))
    same(x.square(), a * a)
    same((-x).abs(), a)
    same(x.clamp(0.8, 1.0), a.clip(0.8, 1.0))
    same(x.clamp(max=1.0), a.clip(max=1.0))
    same((x - 1).relu(), np.maximum(a - 1, 0))
    same(x.sigmoid(), 1 / (1 + np.exp(-a)))
    same(x.tanh(), np.tanh(a))
    assert x.to("float32").dtype == np.float32
    assert x.permute(2, 1, 0).contiguous().array.is_contiguous
    same(x[0].T, a[0].T)


def test_a_whole_expression_trains(rng):
    """A two-layer network written with operators alone reaches a small loss by gradient descent."""
    data = rng.standard_normal((64, 3))
    target = medkern.tensor(np.tanh(data @ rng.standard_normal((3, 1))))
    x = medkern.tensor(data)
    w1 = medkern.tensor(rng.standard_normal((3, 8)) / 2, requires_grad=True)
    w2 = medkern.tensor(rng.standard_normal((8, 1)) / 3, requires_grad=True)
    for _ in range(200):
        loss = (((x @ w1).tanh() @ w2 - target) ** 2).mean()
        w1.grad = w2.grad = None
        loss.backward()
        for w in (w1, w2):
            w.copy_(w.numpy() - 0.1 * w.grad.numpy())
    assert loss.item() < 0.02


def test_numbers_that_do_not_fit_an_integer_tensor():
    x = medkern.tensor(np.array([1, 2], np.uint8))
    for number in (256, -1, 2**70):
        with pytest.raises(ValueError, match="does not fit uint8"):
            x + number
    for number in (1.5, float("inf"), float("nan")):
        with pytest.raises(TypeError, match="beside a tensor of uint8 must be an int, got"):
            x * number


def test_errors_are_named():
    x = medkern.tensor([[1.0, 2.0]])
    with pytest.raises(TypeError, match="unsupported operand"):
        x + "one"
    with pytest.raises(TypeError, match="unsupported operand"):
        x ** medkern.tensor([1.0])
    with pytest.raises(ValueError, match="T: the tensor must have 2 dimensions, got 1"):
        _ = x[0].T
    with pytest.raises(TypeError, match="b must be float32 as a is, got float64"):
        x + medkern.tensor([1.0], dtype="float64")
    with pytest.raises(ValueError, match="does not broadcast"):
        functional.add(x, medkern.tensor([1.0, 2.0, 3.0]))
