"""Arrays of float16 and bfloat16: what holds them, converts them, exchanges them, and what refuses them."""

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import _C, functional, kernels
from reference import half as reference

HALVES = ["float16", "bfloat16"]


def values_of(y):
    return np.asarray(kernels.copy(y, dtype="float64"))


def floats(rng, count=4096):
    """float32 numbers of all sizes: random bits, and what lies at and around the halfway points."""
    bits = rng.integers(0, 2**32, count, dtype=np.uint32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.99, 65520, 65536, 1e-8, 3.4e38])
    whole = np.arange(0x3F80_0000, 0x3F90_0000, 0x400, dtype=np.uint32)  # from 1 on: ties of both types
    small = rng.integers(0, 2**12, 300) * 2.0**-25 * rng.choice([1.0, 1 - 2.0**-20, 1 + 2.0**-20], 300)
    return np.concatenate(
        [bits.view(np.float32), special.astype(np.float32), whole.view(np.float32), small.astype(np.float32)]
    )


@pytest.mark.parametrize("name", HALVES)
def test_float32_is_rounded_to_the_nearest(isa, rng, name):
    x = floats(rng)
    x = x[~(np.abs(x) < 2.0**-126) | (x == 0)]  # denormal float32 may be taken for zero
    y = kernels.copy(x, dtype=name)
    assert str(y.dtype) == name and y.dtype.itemsize == 2
    np.testing.assert_array_equal(values_of(y), reference.rounded(x, name))
    if name == "float16":
        np.testing.assert_array_equal(y, x.astype(np.float16))
        assert np.signbit(y[x == 0]).tolist() == np.signbit(x[x == 0]).tolist()


@pytest.mark.parametrize("name", HALVES)
def test_other_types_are_rounded_once(isa, rng, name):
    tie = 1 + 2.0**-11 if name == "float16" else 1 + 2.0**-8
    # The first would round up to a tie as float32, and then down to 1.
    x = np.array([tie + 2.0**-40, tie, tie - 2.0**-40, -tie - 2.0**-40, 1e-300, 1e300, -1e300, np.nan, 3.5])
    x = np.concatenate([x, rng.standard_normal(100)])
    np.testing.assert_array_equal(values_of(kernels.copy(x, dtype=name)), reference.rounded(x, name))
    for kind, low in [("int32", -(2**31)), ("int64", -(2**52)), ("uint8", 0)]:
        x = rng.integers(low, 256 if kind == "uint8" else -low, 200).astype(kind)
        np.testing.assert_array_equal(values_of(kernels.copy(x, dtype=name)), reference.rounded(x, name))


def test_all_numbers_of_float16_and_bfloat16_come_back(isa):
    bits = np.arange(2**16, dtype=np.uint32)
    x = bits.astype(np.uint16).view(np.float16)
    for kind in ("float32", "float64"):
        np.testing.assert_array_equal(kernels.copy(x, dtype=kind), x.astype(kind))
    again = kernels.copy(kernels.copy(x, dtype="float32"), dtype="float16")
    np.testing.assert_array_equal(again, x)
    x = (bits << 16).view(np.float32)
    y = np.asarray(kernels.copy(kernels.copy(x, dtype="bfloat16"), dtype="float32"))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_array_equal(y.view(np.uint32)[~np.isnan(x)], bits[~np.isnan(x)] << 16)


@pytest.mark.parametrize("name", HALVES)
def test_to_integers_and_bool(isa, name):
    x = kernels.copy(np.array([0.0, -2.5, 300, np.nan, np.inf]), dtype=name)
    assert np.asarray(kernels.copy(x, dtype="int32")).tolist() == [0, -2, 300, 0, 2**31 - 1]
    assert np.asarray(kernels.copy(x, dtype="uint8")).tolist() == [0, 0, 255, 0, 255]
    assert np.asarray(kernels.copy(x, dtype=bool)).tolist() == [False, True, True, True, True]
    other = kernels.copy(x, dtype=HALVES[name == HALVES[0]])
    np.testing.assert_array_equal(values_of(other), [0, -2.5, 300, np.nan, np.inf])


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 17, 4, 5), (1, 16, 33, 18), (2, 0, 3, 4)])
@pytest.mark.parametrize("name", HALVES)
def test_moving(isa, rng, shape, layout, name):
    x = layout(rng.integers(-99, 99, shape).astype(np.float32))  # exact in both
    half = kernels.copy(x, dtype=name, channels_last=True)
    for wanted in (False, True):
        y = kernels.copy(half, channels_last=wanted)
        assert y.dtype == name
        np.testing.assert_array_equal(values_of(y), x)
    joined = kernels.concat([half, half[:, :2] if name == "float16" else half], 1)
    np.testing.assert_array_equal(values_of(joined)[:, : shape[1]], x)
    chosen = kernels.where(x > 0, half, kernels.copy(kernels.full((), 7, name)))
    np.testing.assert_array_equal(values_of(chosen), np.where(x > 0, x, 7))


def test_numpy_has_float16_but_no_bfloat16():
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    tensor = medkern.tensor(x)
    assert tensor.dtype == np.float16
    np.testing.assert_array_equal(tensor.numpy(), x)
    half = tensor.to("bfloat16")
    assert half.dtype == "bfloat16" == medkern.bfloat16 and str(half.dtype) == "bfloat16"
    assert half.dtype != np.float16 and np.dtype(np.float32) != half.dtype and half.dtype.kind == "f"
    for use in (half.numpy, lambda: np.asarray(half), lambda: np.asarray(half.array)):
        with pytest.raises(TypeError, match=r"NumPy has no bfloat16: convert to float32 first"):
            use()
    assert half[1, 2].item() == 5 and "dtype=bfloat16" in repr(half)
    np.testing.assert_array_equal(half.to("float32").numpy(), x)


def test_tensors_are_made_and_changed():
    half = medkern.tensor([[1.0, 2.0]], "bfloat16", requires_grad=True)
    assert half.dtype == medkern.bfloat16 and half.requires_grad
    assert medkern.tensor(half).dtype == medkern.tensor(half.array).dtype == medkern.bfloat16
    assert medkern.tensor(half, "float64").dtype == np.float64
    assert medkern.zeros((2,), "bfloat16").dtype == medkern.bfloat16
    functional.sum(functional.square(functional.to(half, "float32"))).backward()
    assert half.grad.dtype == medkern.bfloat16
    np.testing.assert_array_equal(half.grad.to("float32").numpy(), [[2, 4]])
    half.copy_(np.array([[3.0, 4.0]], np.float32))
    assert half[0, 1].item() == 4
    wide = medkern.zeros((1, 2))
    wide.copy_(half)
    np.testing.assert_array_equal(wide.numpy(), [[3, 4]])
    with pytest.raises(TypeError, match="copy_: values must be int64, got bfloat16"):
        medkern.zeros((1, 2), "int64").copy_(half)
    with pytest.raises(TypeError, match="to: dtype must be float32 or float64, got bfloat16"):
        medkern.nn.Linear(2, 2).to("bfloat16")


@pytest.mark.parametrize("name", HALVES)
def test_torch_shares_the_memory(name):
    torch = pytest.importorskip("torch")
    theirs = torch.arange(12, dtype=torch.float32).reshape(3, 4).to(getattr(torch, name))
    ours = _C.Array(theirs)
    assert ours.dtype == name and ours.shape == (3, 4)
    np.testing.assert_array_equal(values_of(ours), np.arange(12.0).reshape(3, 4))
    theirs[0, 0] = 9
    assert values_of(ours)[0, 0] == 9
    back = torch.from_dlpack(ours)
    assert back.dtype == theirs.dtype and back.data_ptr() == theirs.data_ptr()
    assert medkern.tensor(theirs).dtype == name
    converted = kernels.copy(torch.tensor([1.0, 2.0]), dtype=name)  # a kernel gives back their kind
    assert converted.dtype == theirs.dtype


def small(shape, name):
    return kernels.copy(np.ones(shape, np.float32), dtype=name)


# A call of each kind of CPU operation; none may take its arguments for numbers of another size.
REFUSING = {
    "binary": lambda f: kernels.add(f(4), f(4)),
    "compare": lambda f: kernels.gt(f(4), f(4)),
    "unary": lambda f: kernels.relu(f(4)),
    "unary_backward": lambda f: kernels.relu_backward(f(4), f(4)),
    "pad": lambda f: kernels.pad(f(4), (1, 1)),
    "pad_backward": lambda f: kernels.pad_backward(f(4), (2,), (1, 1)),
    "gemm": lambda f: kernels.gemm(f(2, 3), f(3, 2)),
    "linear": lambda f: kernels.linear(f(2, 3), f(2, 3)),
    "linear_plan": lambda f: kernels.linear_plan(f(2, 3)),
    "bias_backward": lambda f: kernels.bias_backward(f(2, 3)),
    "conv": lambda f: kernels.conv2d(f(1, 2, 4, 4), f(2, 2, 3, 3)),
    "conv_transpose": lambda f: kernels.conv_transpose2d(f(1, 2, 4, 4), f(2, 2, 3, 3)),
    "conv_plan": lambda f: kernels.conv_plan(f(2, 2, 3, 3)),
    "conv_backward_input": lambda f: kernels.conv_backward_input(f(1, 2, 2, 2), f(2, 2, 3, 3), (1, 2, 4, 4)),
    "conv_backward_weight": lambda f: kernels.conv_backward_weight(
        f(1, 2, 2, 2), f(1, 2, 4, 4), (2, 2, 3, 3)
    ),
    "max_pool": lambda f: kernels.max_pool2d(f(1, 2, 4, 4), 2),
    "avg_pool": lambda f: kernels.avg_pool2d(f(1, 2, 4, 4), 2),
    "adaptive": lambda f: kernels.adaptive_avg_pool2d(f(1, 2, 4, 4), 2),
    "interpolate": lambda f: kernels.interpolate(f(1, 2, 4, 4), 8),
    "batch_norm": lambda f: kernels.batch_norm(f(2, 2, 4), None, None, f(2), f(2)),
    "instance_norm": lambda f: kernels.instance_norm(f(2, 2, 4)),
    "layer_norm": lambda f: kernels.layer_norm(f(2, 4), (4,)),
    "softmax": lambda f: kernels.softmax(f(2, 4)),
    "cross_entropy": lambda f: kernels.cross_entropy(f(2, 4), np.array([0, 1])),
    "sum": lambda f: kernels.sum(f(2, 4)),
    "max": lambda f: kernels.max(f(2, 4), 1),
    "embedding": lambda f: kernels.embedding(np.array([0, 1]), f(2, 4)),
    "dropout": lambda f: kernels.dropout(f(2, 4), 0.5, seed=1, offset=0),
    "lstm_cell": lambda f: kernels.lstm_cell(f(1, 2), f(1, 3), f(1, 3), f(12, 2), f(12, 3)),
    "lstm": lambda f: kernels.lstm(f(1, 2, 2), [f(12, 2), f(12, 3)]),
}


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("call", REFUSING)
def test_cpu_operations_refuse_them_by_name(name, call):
    expected = (
        "must be float32, float64, int32, int64 or uint8" if call == "compare" else "float32 or float64"
    )
    with pytest.raises(TypeError, match=f"{expected}, got {name}"):
        REFUSING[call](lambda *shape: small(shape, name))
