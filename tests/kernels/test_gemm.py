import ctypes
import os

import numpy as np
import pytest

import medkern
from arrays import channels_last, strided
from medkern import _C, kernels
from reference import gemm as reference

DTYPES = [np.float32, np.float64]

# m, n, k around the tile (14, 6 or 4 rows; 32 to 4 columns) and the blocks of k and of rows.
SIZES = [
    (1, 1, 1),
    (3, 5, 2),
    (4, 4, 4),
    (6, 16, 7),
    (7, 17, 9),
    (14, 32, 16),
    (15, 33, 511),
    (29, 65, 513),
    (13, 31, 600),
    (120, 8, 5),
    (113, 70, 30),
    (300, 40, 270),
    (290, 300, 600),
    (5, 0, 3),
    (0, 5, 3),
    (5, 7, 0),
]


def transposed(x):
    """The same matrix, column by column in memory."""
    return np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2)


LAYOUTS = [np.ascontiguousarray, transposed, strided]


@pytest.fixture(params=[(9, 0), (8, 0)], ids=["9.0", "8.0"])
def capability(isa, request):
    """On the emulator devices of both compute capabilities, which take kernels of their own."""
    if os.environ.get("MEDKERN_CUDA") != "emulated" or isa != "cuda":
        if request.param != (9, 0):
            pytest.skip("one device")
        yield None
        return
    runtime = ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"])
    runtime.medkern_emulator_set_capability(*request.param)
    yield request.param
    runtime.medkern_emulator_set_capability(9, 0)


def count_launches(name):
    """How many kernels were started whose names begin so; None if that isn't known."""
    if os.environ.get("MEDKERN_CUDA") != "emulated":
        return None
    return ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_launches(name.encode())


def assert_close(y, expected, terms):
    # Each term is rounded once and then takes part in at most a few hundred sums whose errors mostly
    # cancel: 8 u sum|terms| was never exceeded by a correct kernel; a lost term exceeds it at once.
    unit = np.finfo(y.dtype).eps / 2
    assert y.shape == expected.shape
    assert np.all(np.abs(y - expected) <= 8 * unit * terms)


@pytest.mark.parametrize("a_layout", LAYOUTS)
@pytest.mark.parametrize("b_layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gemm(isa, rng, dtype, a_layout, b_layout):
    for m, n, k in SIZES:
        a = a_layout(rng.standard_normal((m, k)).astype(dtype))
        b = b_layout(rng.standard_normal((k, n)).astype(dtype))
        copies = a.copy(), b.copy()
        c = kernels.gemm(a, b)
        assert c.dtype == dtype and c.flags.c_contiguous
        assert_close(c, *reference.gemm(a, b))
        np.testing.assert_array_equal(a, copies[0])
        np.testing.assert_array_equal(b, copies[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_bias_and_activation(isa, rng, dtype, activation):
    for m, n, k in SIZES:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        bias = rng.standard_normal(n).astype(dtype)
        c = kernels.gemm(a, b, bias, activation=activation)
        assert_close(c, *reference.gemm(a, b, bias, activation))


def test_small_integers_are_exact(isa, rng):
    a = rng.integers(-8, 9, (37, 900)).astype(np.float32)
    b = rng.integers(-8, 9, (900, 70)).astype(np.float32)
    np.testing.assert_array_equal(kernels.gemm(a, b), a.astype(np.int64) @ b.astype(np.int64))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batched(isa, rng, layout):
    for batch in (0, 1, 3):
        a = layout(rng.standard_normal((batch, 5, 9)))
        b = layout(rng.standard_normal((batch, 9, 7)))
        assert_close(kernels.gemm(a, b), *reference.gemm(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_alone_and_in_a_batch(isa, rng, dtype):
    x = rng.standard_normal((300, 530)).astype(dtype)
    weight = rng.standard_normal((45, 530)).astype(dtype)
    bias = rng.standard_normal(45).astype(dtype)
    together = kernels.linear(x, weight, bias)
    for rows in (slice(0, 1), slice(7, 20), slice(100, 250)):
        np.testing.assert_array_equal(kernels.linear(x[rows], weight, bias), together[rows])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_a_multiple_of_4096_bytes_apart(isa, rng, dtype):
    # They meet in the same sets of a cache, so many of them take other tiles than a few.
    k = 4096 // np.dtype(dtype).itemsize
    a = rng.standard_normal((290, k)).astype(dtype)
    for n in (96, 200, 209, 233):  # last panels of each number of vectors, and parts of one
        b = rng.standard_normal((k, n)).astype(dtype)
        together = kernels.gemm(a, b)
        assert_close(together, *reference.gemm(a, b))
        np.testing.assert_array_equal(kernels.gemm(a[:20], b), together[:20])


@pytest.mark.parametrize("a_layout", LAYOUTS)
def test_the_same_bits_at_any_number_of_threads(isa, rng, a_layout):
    before = medkern.get_num_threads()
    for m, n, k in [(300, 200, 600), (20, 400, 100), (300, 200, 1024)]:
        a = a_layout(rng.standard_normal((m, k)).astype(np.float32))
        b = transposed(rng.standard_normal((k, n)).astype(np.float32))
        dy = rng.standard_normal((2000, 50)).astype(np.float32)
        results = []
        for threads in (1, 2, 3):
            medkern.set_num_threads(threads)
            results.append((kernels.gemm(a, b), kernels.bias_backward(dy)))
        medkern.set_num_threads(before)
        for c, dbias in results[1:]:
            np.testing.assert_array_equal(c, results[0][0])
            np.testing.assert_array_equal(dbias, results[0][1])


def test_nan_and_infinity_pass(isa):
    a = np.ones((3, 4), np.float32)
    b = np.ones((4, 40), np.float32)
    a[1, 2], b[3, 7] = np.nan, np.inf
    for activation in (None, "relu"):
        c = kernels.gemm(a, b, activation=activation)
        assert np.isnan(c[1]).all() and (c[[0, 2], 7] == np.inf).all()
        assert np.isfinite(np.delete(c[[0, 2]], 7, axis=1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 0)])
def test_linear_and_its_gradients(isa, rng, dtype, leading):
    x = rng.standard_normal((*leading, 19)).astype(dtype)
    weight = rng.standard_normal((33, 19)).astype(dtype)
    bias = rng.standard_normal(33).astype(dtype)
    dy = rng.standard_normal((*leading, 33)).astype(dtype)
    rows, dy_rows = x.reshape(-1, 19), dy.reshape(-1, 33)
    expected, terms = reference.gemm(rows, weight.T, bias, "relu")
    y = kernels.linear(x, weight, bias, activation="relu")
    assert_close(y, expected.reshape(dy.shape), terms.reshape(dy.shape))
    expected, terms = reference.gemm(dy_rows, weight)
    dx = kernels.linear_backward_input(dy, weight)
    assert_close(dx, expected.reshape(x.shape), terms.reshape(x.shape))
    assert_close(kernels.linear_backward_weight(dy, x), *reference.gemm(dy_rows.T, rows))
    assert_close(kernels.bias_backward(dy, dy.ndim - 1), *reference.bias_backward(dy, dy.ndim - 1))


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last, strided])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_backward_of_images(isa, rng, dtype, layout):
    # Few channels, whose rows share vectors, and many; rows of several chunks, and a last short run.
    shapes = [(2, 3, 5), (1, 17, 9, 40), (3, 1, 30, 30), (1, 33, 3, 4, 5), (0, 3, 4), (2, 0, 4)]
    shapes += [
        (1, 1, 70, 99),
        (2, 5, 61, 31),
        (1, 7, 40, 40),
        (1, 15, 33, 33),
        (1, 16, 29, 29),
        (1, 48, 31, 17),
    ]
    for shape in shapes:
        dy = layout(rng.standard_normal(shape).astype(dtype))
        assert_close(kernels.bias_backward(dy), *reference.bias_backward(dy, 1))


def test_bias_backward_loses_nothing_in_long_sums(isa):
    # A naive float32 sum of 2^20 values of 0.1 is off by 1e-3 relatively.
    dy = np.full((1, 2, 1 << 20), 0.1, np.float32)
    for layout in (np.ascontiguousarray, channels_last):
        np.testing.assert_allclose(kernels.bias_backward(layout(dy)), 0.1 * (1 << 20), rtol=1e-6)


def test_out_is_written(rng):
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 5))
    out = np.empty((3, 5))
    kernels.gemm(a, b, out=out)
    np.testing.assert_array_equal(out, kernels.gemm(a, b))


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    "call,error,message",
    [
        (lambda: kernels.gemm(zeros(3), zeros(3)), ValueError, "a must have 2 or 3 dimensions, got 1"),
        (lambda: kernels.gemm(zeros(2, 3), zeros(1, 3, 2)), ValueError, "b must have 2 dimensions"),
        (
            lambda: kernels.gemm(zeros(2, 3), zeros(4, 2)),
            ValueError,
            r"a has 3 columns, b has 4 rows \(a \(2, 3\), b \(4, 2\)\)",
        ),
        (lambda: kernels.gemm(zeros(2, 2, 3), zeros(3, 3, 2)), ValueError, "same batch size"),
        (
            lambda: kernels.gemm(zeros(2, 3, dtype=np.int64), zeros(3, 2)),
            TypeError,
            "a must be float32 or float64, got int64",
        ),
        (
            lambda: kernels.gemm(zeros(2, 3), zeros(3, 2, dtype=np.float64)),
            TypeError,
            "b must be float32 as a is, got float64",
        ),
        (
            lambda: kernels.gemm(zeros(2, 3), zeros(3, 2), zeros(3)),
            ValueError,
            r"bias must have shape \(2,\), got \(3,\)",
        ),
        (
            lambda: kernels.gemm(zeros(2, 3), zeros(3, 2), activation="tanh"),
            ValueError,
            "activation must be None or 'relu', got 'tanh'",
        ),
        (
            lambda: kernels.gemm(zeros(2, 3), zeros(3, 2), out=zeros(2, 3)),
            ValueError,
            r"c must have shape \(2, 2\), got \(2, 3\)",
        ),
        (
            lambda: kernels.gemm(zeros(2, 3), zeros(3, 2), out=zeros(2, 2).T[:, ::1].copy("F")),
            ValueError,
            "c must be contiguous",
        ),
        (lambda: kernels.gemm(zeros(2, 3), "b"), TypeError, "b must be an array"),
        (lambda: kernels.linear(zeros(), zeros(2, 3)), ValueError, "x must have at least 1 dimension"),
        (lambda: kernels.linear(zeros(3), zeros(3)), ValueError, "weight must have 2 dimensions"),
        (
            lambda: kernels.linear(zeros(2, 4), zeros(2, 3)),
            ValueError,
            r"weight expects 3 input features, got x with 4 \(x \(2, 4\), weight \(2, 3\)\)",
        ),
        (
            lambda: kernels.linear_backward_input(zeros(2, 4), zeros(2, 3)),
            ValueError,
            "weight expects 2 output features, got dy with 4",
        ),
        (
            lambda: kernels.linear_backward_weight(zeros(2, 4), zeros(3, 3)),
            ValueError,
            "dy and x must have the same leading axes",
        ),
        (lambda: kernels.bias_backward(zeros(2, 3), 2), ValueError, "axis must be from 0 to 1, got 2"),
        (lambda: kernels.bias_backward(zeros(2, 3), -1), ValueError, "axis must be from 0 to 1, got -1"),
        (
            lambda: kernels.bias_backward(channels_last(zeros(2, 3, 4)), 2),
            ValueError,
            "a channels-last dy needs axis 1, got 2",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_sharing_memory_with_the_result_is_refused():
    x = zeros(3, 3)
    with pytest.raises(ValueError, match="c must not share memory with a"):
        kernels.gemm(x, zeros(3, 3), out=x)


def test_sizes_beyond_64_bits_are_refused():
    wide = np.broadcast_to(np.float32(1), (2**31, 2**29))
    with pytest.raises(MemoryError, match="overflows 64 bits"):
        kernels.gemm(wide, wide.T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_plan_gives_the_bits_of_the_plain_call(isa, rng, dtype):
    for rows, columns, outputs in [
        ((1,), 300, 45),
        ((5,), 17, 33),
        ((2, 20), 8, 1),
        ((0,), 4, 3),
        ((3,), 0, 4),
    ]:
        x = rng.standard_normal((*rows, columns)).astype(dtype)
        weight = rng.standard_normal((outputs, columns)).astype(dtype)
        bias = rng.standard_normal(outputs).astype(dtype)
        for b, activation in [(None, None), (bias, "relu")]:
            plan = kernels.linear_plan(weight, b, activation=activation)
            np.testing.assert_array_equal(plan(x), kernels.linear(x, weight, b, activation=activation))
        assert plan.nbytes >= weight.nbytes
        out = np.empty((*rows, outputs), dtype)
        plan(strided(x), out=out)
        np.testing.assert_array_equal(out, plan(x))


def test_a_plan_keeps_what_it_was_given(rng):
    x, weight = rng.standard_normal((2, 8)), rng.standard_normal((8, 16)).T[::2]
    bias = rng.standard_normal(8)
    plan = kernels.linear_plan(weight, bias)
    expected = kernels.linear(x, weight, bias)
    weight[:], bias[:] = 0, 0
    np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize(
    "call,error,message",
    [
        (lambda: kernels.linear_plan(zeros(3)), ValueError, "linear_plan: weight must have 2 dimensions"),
        (lambda: kernels.linear_plan(zeros(3, 2, dtype=np.int64)), TypeError, "weight must be float32 or"),
        (lambda: kernels.linear_plan(zeros(3, 2), activation="tanh"), ValueError, "linear_plan: activation"),
        (lambda: kernels.linear_plan(None), TypeError, "weight must be an array"),
        (
            lambda: kernels.linear_plan(zeros(3, 2))(zeros(1, 3)),
            ValueError,
            "weight expects 2 input features",
        ),
        (
            lambda: kernels.linear_plan(zeros(3, 2))(zeros(1, 2, dtype=np.float64)),
            TypeError,
            "weight must be",
        ),
        (
            lambda: kernels.linear_plan(zeros(3, 2), zeros(2))(zeros(1, 2)),
            ValueError,
            r"bias must have shape",
        ),
        (lambda: kernels.linear_plan(zeros(3, 2))(zeros(1, 2), out=zeros(1, 2)), ValueError, "y must have"),
    ],
)
def test_bad_arguments_of_plans_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_plan_serves_one_instruction_set():
    names = _C.isa_names()
    if len(names) < 2:
        pytest.skip("this processor runs one instruction set")
    before = _C.isa_active()
    try:
        _C.isa_select(names[0])
        plan = kernels.linear_plan(zeros(3, 2))
        _C.isa_select(names[1])
        with pytest.raises(ValueError, match="another instruction set"):
            plan(zeros(1, 2))
    finally:
        _C.isa_select(before)


@pytest.fixture
def keep_precision():
    before = medkern.get_float32_matmul_precision()
    yield
    medkern.set_float32_matmul_precision(before)


# Half of the distance between neighboring numbers, for both factors: bf16 has 8 bits, tf32 11.
@pytest.mark.parametrize(
    ("precision", "unit"), [("highest", 2.0**-24), ("high", 2.0**-11), ("medium", 2.0**-8)]
)
def test_precision_of_float32_products(isa, rng, keep_precision, precision, unit):
    medkern.set_float32_matmul_precision(precision)
    assert medkern.get_float32_matmul_precision() == precision
    for m, n, k in [(5, 9, 33), (70, 130, 65)]:
        a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
        expected, terms = reference.gemm(a, b)
        error = np.abs(kernels.gemm(a, b) - expected)
        assert np.all(error <= (8 if precision == "highest" else 2) * unit * terms)
        if isa == "cuda" and precision != "highest":
            assert np.max(error / terms) > unit / 64  # it is what was asked for
        whole = rng.integers(-8, 9, (m, k)).astype(np.float32)  # exact in any of them
        np.testing.assert_array_equal(kernels.gemm(whole, whole.T), whole @ whole.T)


# Tiles have 128 rows and 256, 128 or 64 columns, slices 64 or 32 of k; some lines are no 16 bytes.
WARPGROUP_SIZES = [(5, 64, 64), (128, 256, 128), (70, 130, 100), (131, 66, 257), (300, 321, 70)]


@pytest.mark.parametrize(("precision", "unit"), [("high", 2.0**-11), ("medium", 2.0**-8)])
@pytest.mark.parametrize("a_layout", LAYOUTS)
@pytest.mark.parametrize("b_layout", LAYOUTS)
def test_products_of_warpgroups(isa, capability, rng, keep_precision, precision, unit, a_layout, b_layout):
    if isa != "cuda":
        pytest.skip("about tensor cores")
    medkern.set_float32_matmul_precision(precision)
    before = count_launches("gemm_wgmma")
    for m, n, k in WARPGROUP_SIZES:
        a = rng.standard_normal((m, k)).astype(np.float32)
        b = rng.standard_normal((k, n)).astype(np.float32)
        bias = rng.standard_normal(n).astype(np.float32)
        c = kernels.gemm(a_layout(a), b_layout(b), bias, activation="relu")
        expected, terms = reference.gemm(a, b, bias, "relu")
        assert np.all(np.abs(c - expected) <= 2 * unit * terms)
        whole = rng.integers(-8, 9, (m, k)).astype(np.float32)  # exact in any of them
        other = rng.integers(-8, 9, (k, n)).astype(np.float32)
        np.testing.assert_array_equal(kernels.gemm(a_layout(whole), b_layout(other)), whole @ other)
    if capability is not None:
        assert (count_launches("gemm_wgmma") > before) == (capability == (9, 0))


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_long_sums_are_split(isa, capability, rng, keep_precision, precision):
    medkern.set_float32_matmul_precision(precision)
    dy, x = (rng.integers(-2, 3, (4200, n)).astype(np.float32) for n in (66, 70))
    before = count_launches("gemm_reduce")
    np.testing.assert_array_equal(kernels.linear_backward_weight(dy, x), dy.T @ x)
    if capability is not None:
        assert count_launches("gemm_reduce") == before + 1


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("sizes", [(5, 9, 7), (70, 130, 100)])
def test_a_batch_is_one_launch(isa, capability, rng, keep_precision, precision, sizes):
    medkern.set_float32_matmul_precision(precision)
    m, n, k = sizes
    a, b = (
        rng.standard_normal((3, m, k)).astype(np.float32),
        rng.standard_normal((3, k, n)).astype(np.float32),
    )
    bias = rng.standard_normal(n).astype(np.float32)
    before = count_launches("gemm_")
    together = kernels.gemm(a, b, bias, activation="relu")
    packing = count_launches("gemm_pack")
    if capability is not None:
        assert count_launches("gemm_") - before <= 1 + (packing > 0)
    for i in range(3):
        np.testing.assert_array_equal(kernels.gemm(a[i], b[i], bias, activation="relu"), together[i])
    # One matrix for all items, which has no stride from item to item.
    same = kernels.gemm(np.broadcast_to(a[0], a.shape), b, bias, activation="relu")
    np.testing.assert_array_equal(same[0], together[0])
    np.testing.assert_array_equal(same[1], kernels.gemm(a[0], b[1], bias, activation="relu"))


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_row_has_the_same_bits_alone_in_every_precision(isa, capability, rng, keep_precision, precision):
    medkern.set_float32_matmul_precision(precision)
    x = rng.standard_normal((300, 130)).astype(np.float32)
    weight = rng.standard_normal((70, 130)).astype(np.float32)
    together = kernels.linear(x, weight)
    for rows in (slice(0, 1), slice(7, 20), slice(100, 250)):
        np.testing.assert_array_equal(kernels.linear(x[rows], weight), together[rows])


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_nan_and_infinity_pass_warpgroups(isa, capability, keep_precision, precision):
    medkern.set_float32_matmul_precision(precision)
    a, b = np.ones((70, 65), np.float32), np.ones((65, 100), np.float32)
    a[1, 2], b[3, 7] = np.nan, np.inf
    for activation in (None, "relu"):
        c = kernels.gemm(a, b, activation=activation)
        assert np.isnan(c[1]).all() and (c[[0, 2], 7] == np.inf).all()
        assert np.isfinite(np.delete(c[[0, 2]], 7, axis=1)).all()


HALVES = [("float16", 2.0**-11), ("bfloat16", 2.0**-8)]


def halves(x, name):
    """An array of that type on the device, and its numbers."""
    y = kernels.copy(np.ascontiguousarray(x, np.float32), dtype=name)
    return y, np.asarray(kernels.copy(y, dtype="float64"))


def turned_about(y):
    return y.T if isinstance(y, np.ndarray) else y.with_layout(y.shape[::-1], y.strides[::-1])


def wide(y):
    return np.asarray(kernels.copy(y, dtype="float64"))


@pytest.mark.parametrize(("name", "unit"), HALVES)
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_products_of_16_bits(isa, capability, rng, name, unit, turned):
    if isa != "cuda":
        pytest.skip("on CUDA devices only")
    before = count_launches("gemm_wgmma")
    for m, n, k in [(3, 5, 7), (1, 200, 64), *WARPGROUP_SIZES]:
        a, a_values = halves(rng.standard_normal((k, m) if turned[0] else (m, k)), name)
        b, b_values = halves(rng.standard_normal((n, k) if turned[1] else (k, n)), name)
        bias, bias_values = halves(rng.standard_normal(n), name)
        a, a_values = (turned_about(a), a_values.T) if turned[0] else (a, a_values)
        b, b_values = (turned_about(b), b_values.T) if turned[1] else (b, b_values)
        c = kernels.gemm(a, b, bias, activation="relu")
        assert str(c.dtype) == name
        expected, terms = reference.gemm(a_values, b_values, bias_values, "relu")
        # The sum of exact products in float32, then rounded once.
        assert np.all(np.abs(wide(c) - expected) <= unit * np.abs(expected) + 8 * 2.0**-24 * terms)
    if capability is not None:
        assert (count_launches("gemm_wgmma") > before) == (capability == (9, 0))


@pytest.mark.parametrize(("name", "unit"), HALVES)
def test_linear_and_its_gradients_in_16_bits(isa, capability, rng, name, unit):
    if isa != "cuda":
        pytest.skip("on CUDA devices only")
    x, x_values = halves(rng.standard_normal((2, 1100, 66)), name)
    weight, weight_values = halves(rng.standard_normal((70, 66)), name)
    dy, dy_values = halves(rng.standard_normal((2, 1100, 70)), name)
    rows, dy_rows = x_values.reshape(-1, 66), dy_values.reshape(-1, 70)
    for y, (expected, terms) in [
        (kernels.linear(x, weight), reference.gemm(rows, weight_values.T)),
        (kernels.linear_plan(weight)(x), reference.gemm(rows, weight_values.T)),
        (kernels.linear_backward_input(dy, weight), reference.gemm(dy_rows, weight_values)),
        (kernels.linear_backward_weight(dy, x), reference.gemm(dy_rows.T, rows)),
        (kernels.bias_backward(dy, 2), reference.bias_backward(dy_values, 2)),
    ]:
        assert str(y.dtype) == name
        error = np.abs(wide(y).reshape(expected.shape) - expected)
        assert np.all(error <= unit * np.abs(expected) + 8 * 2.0**-24 * terms)


def test_16_bits_are_refused_on_the_cpu():
    x = zeros(3, 3, dtype=np.float16)
    with pytest.raises(TypeError, match="a must be float32 or float64, got float16"):
        kernels.gemm(x, x)
    with pytest.raises(TypeError, match="x must be float32 or float64, got float16"):
        kernels.linear(x, x)


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="precision must be 'highest', 'high' or 'medium', got 'low'"):
        medkern.set_float32_matmul_precision("low")
    with pytest.raises(ValueError, match="precision must be from 0 to 2, got 3"):
        _C.set_matmul_precision(3)
