import numpy as np
import pytest

import medkern
from medkern import _C, kernels
from reference import recurrent as reference

CELLS = list(reference.GATES)
# N, T, I, H, directions, biases (ih, hh), initial states, lengths
CASES = [
    (1, 1, 1, 1, 1, (True, True), True, None),
    (2, 3, 5, 3, 1, (False, False), False, None),
    (3, 4, 2, 15, 2, (True, True), True, [4, 0, 2]),
    (1, 2, 17, 16, 1, (True, False), True, [1]),
    (2, 5, 3, 17, 2, (False, True), False, [5, 3]),
    (17, 2, 4, 33, 1, (True, True), True, None),
    # From two dozen on samples are cut into chunks; before that, and for a single step, units are.
    (25, 3, 18, 20, 1, (True, True), True, None),
    (13, 2, 5, 17, 2, (False, True), False, [2, 1, 0, 2] * 3 + [1]),
    (35, 1, 3, 5, 1, (True, True), False, None),
    (2, 2, 33, 31, 2, (True, True), True, None),
    (0, 3, 2, 4, 2, (True, True), True, None),
    (2, 0, 3, 4, 2, (True, True), True, [0, 0]),
    (2, 2, 0, 4, 1, (True, True), True, None),
]


def make_weights(rng, cell, inputs, hidden, directions=1, biases=(True, True), dtype=np.float64):
    rows = reference.GATES[cell] * hidden

    def one():
        # Sums of H terms of about this size stay near 1, where the activations bend.
        shapes = [(rows, inputs), (rows, hidden), (rows,), (rows,)]
        values = [(rng.standard_normal(s) / np.sqrt(hidden)).astype(dtype) for s in shapes]
        return (*values[:2], *(v if wanted else None for v, wanted in zip(values[2:], biases, strict=True)))

    return [one() for _ in range(directions)]


def make_layer(rng, cell, case, dtype):
    """Keyword arguments of `recurrent_layer` and of the oracle."""
    batch, steps, inputs, hidden, directions, biases, initial, lengths = case
    state = (directions, batch, hidden)
    return dict(
        x=rng.standard_normal((batch, steps, inputs)).astype(dtype),
        weights=make_weights(rng, cell, inputs, hidden, directions, biases, dtype),
        h0=rng.standard_normal(state).astype(dtype) if initial else None,
        c0=rng.standard_normal(state).astype(dtype) if initial and cell == "lstm" else None,
        lengths=None if lengths is None else np.array(lengths),
    )


def make_gradients(rng, cell, y, h_n):
    gradients = [rng.standard_normal(a.shape).astype(y.dtype) for a in (y, h_n, h_n)]
    return [*gradients[:2], gradients[2] if cell == "lstm" else None]


def assert_close(found, expected, dtype, terms=1):
    """Each value is a sum of `terms` products of numbers near 1, some steps deep: 100 roundings each."""
    assert found.dtype == dtype and found.shape == expected.shape
    unit = 2.0**-24 if dtype == np.float32 else 2.0**-53
    scale = max(1, np.abs(expected).max(initial=0))
    assert np.abs(found - expected).max(initial=0) <= 100 * np.sqrt(terms) * unit * scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cell", CELLS)
def test_layer_forward_and_backward(isa, rng, cell, case, dtype):
    layer = make_layer(rng, cell, case, dtype)
    flat = [layer["x"], layer["h0"], layer["c0"], *(w for each in layer["weights"] for w in each)]
    before = [None if a is None else a.copy() for a in flat]
    y, h_n, c_n, saved = kernels.recurrent_layer(cell, **layer, save=True)
    expected = reference.layer(cell, **layer)
    assert_close(y, expected[0], dtype)
    assert_close(h_n, expected[1], dtype)
    if cell == "lstm":
        assert_close(c_n, expected[2], dtype)
    else:
        assert c_n is None
    without_saving = kernels.recurrent_layer(cell, **layer)
    assert without_saving[3] is None
    np.testing.assert_array_equal(without_saving[0], y)
    np.testing.assert_array_equal(without_saving[1], h_n)

    dy, dh_n, dc_n = make_gradients(rng, cell, y, h_n)
    dx, dh0, dc0, dweights = kernels.recurrent_layer_backward(cell, dy, dh_n, dc_n, **layer, y=y, saved=saved)
    dc = np.zeros(h_n.shape) if dc_n is None else dc_n
    expected_dx, expected_dh0, expected_dc0, expected_dw = reference.layer_backward(
        cell, dy, dh_n, dc, **layer
    )
    terms = max(1, y.shape[0] * y.shape[1])
    assert_close(dx, expected_dx, dtype)
    assert_close(dh0, expected_dh0, dtype)
    if cell == "lstm":
        assert_close(dc0, expected_dc0, dtype)
    else:
        assert dc0 is None
    for weights, found, wanted in zip(layer["weights"], dweights, expected_dw, strict=True):
        for weight, gradient, reference_gradient in zip(weights, found, wanted, strict=True):
            if weight is None:
                assert gradient is None
            else:
                assert_close(gradient, reference_gradient, dtype, terms)
    for array, copy in zip(flat, before, strict=True):
        assert array is copy is None or np.array_equal(array, copy)


@pytest.mark.parametrize("cell", CELLS)
def test_many_steps_in_parts_are_the_same_as_at_once(isa, rng, cell):
    """Products with x are computed for some steps at a time, for all of them at once if there are few."""
    steps = 40 if isa == "cuda" else 400  # an emulated one is slow
    lengths = [steps, steps - 10, 7, 0, steps // 2, steps, steps, 33, steps, steps // 2 - 1, steps]
    layer = make_layer(rng, cell, (11, steps, 3, 66, 2, (True, True), True, lengths), np.float32)
    layer["x"][..., 0] = 1
    y, h_n, c_n, saved = kernels.recurrent_layer(cell, **layer, save=True)
    for n in (0, 2, 4):
        one, length = slice(n, n + 1), lengths[n]
        alone = dict(layer, x=layer["x"][one, :length], lengths=None, h0=layer["h0"][:, one])
        alone["c0"] = None if layer["c0"] is None else layer["c0"][:, one]
        y1, h1, c1, _ = kernels.recurrent_layer(cell, **alone)
        np.testing.assert_array_equal(y1, y[one, :length])
        np.testing.assert_array_equal(h1, h_n[:, one])
        if cell == "lstm":
            np.testing.assert_array_equal(c1, c_n[:, one])
    # A bias is the weight of an input that is always 1.
    *_, dweights = kernels.recurrent_layer_backward(cell, y, None, None, **layer, y=y, saved=saved)
    for dweight_ih, _, dbias_ih, _ in dweights:
        scale = np.abs(dbias_ih).max()
        np.testing.assert_allclose(dbias_ih, dweight_ih[:, 0], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("cell", CELLS)
def test_missing_gradients_are_zeros(rng, cell):
    layer = make_layer(rng, cell, (2, 3, 4, 5, 2, (True, True), True, None), np.float64)
    y, h_n, _, saved = kernels.recurrent_layer(cell, **layer, save=True)
    dy, dh_n, dc_n = make_gradients(rng, cell, y, h_n)
    zero = np.zeros_like(h_n)
    for given, filled in [
        ((dy, None, None), (dy, zero, zero if cell == "lstm" else None)),
        ((None, dh_n, dc_n), (np.zeros_like(y), dh_n, dc_n)),
    ]:
        short = kernels.recurrent_layer_backward(cell, *given, **layer, y=y, saved=saved)
        full = kernels.recurrent_layer_backward(cell, *filled, **layer, y=y, saved=saved)
        np.testing.assert_array_equal(short[0], full[0])
        np.testing.assert_array_equal(short[1], full[1])


def test_gradients_that_are_not_wanted_are_none(rng):
    layer = make_layer(rng, "gru", (2, 3, 4, 5, 2, (True, True), True, None), np.float64)
    y, _, _, saved = kernels.recurrent_layer("gru", **layer, save=True)
    dx, _, _, dweights = kernels.recurrent_layer_backward(
        "gru", y, None, None, **layer, y=y, saved=saved, input_gradient=False, weight_gradients=False
    )
    assert dx is None and dweights == []


@pytest.mark.parametrize("cell", CELLS)
def test_padding_has_no_effect(isa, rng, cell):
    layer = make_layer(rng, cell, (3, 5, 3, 18, 2, (True, True), True, [5, 2, 0]), np.float32)
    idle = np.arange(5) >= layer["lengths"][:, None]
    layer["x"][idle] = 0
    dirty = {**layer, "x": layer["x"].copy()}
    dirty["x"][idle] = np.nan
    y, h_n, c_n, saved = kernels.recurrent_layer(cell, **layer, save=True)
    dirty_y, dirty_h_n, _, dirty_saved = kernels.recurrent_layer(cell, **dirty, save=True)
    assert (y[idle] == 0).all()
    np.testing.assert_array_equal(h_n[:, 2], layer["h0"][:, 2])  # no step: the initial state
    if cell == "lstm":
        np.testing.assert_array_equal(c_n[:, 2], layer["c0"][:, 2])
    np.testing.assert_array_equal(dirty_y, y)
    np.testing.assert_array_equal(dirty_h_n, h_n)

    dy, dh_n, dc_n = make_gradients(rng, cell, y, h_n)
    clean = kernels.recurrent_layer_backward(cell, dy, dh_n, dc_n, **layer, y=y, saved=saved)
    dy = dy.copy()
    dy[idle] = np.nan
    found = kernels.recurrent_layer_backward(cell, dy, dh_n, dc_n, **dirty, y=y, saved=dirty_saved)
    assert (found[0][idle] == 0).all()
    for a, b in zip([*clean[:2], *clean[3][0]], [*found[:2], *found[3][0]], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_a_sample_is_the_same_alone_and_in_a_batch(isa, rng, cell):
    lengths = [6, 2, 5, 6, 1, 6, 3, 6, 6]
    layer = make_layer(rng, cell, (9, 6, 20, 40, 2, (True, True), True, lengths), np.float32)
    y, h_n, c_n, saved = kernels.recurrent_layer(cell, **layer, save=True)
    dy, dh_n, dc_n = make_gradients(rng, cell, y, h_n)
    dx, dh0, *_ = kernels.recurrent_layer_backward(cell, dy, dh_n, dc_n, **layer, y=y, saved=saved)
    for n in (0, 2, 8):
        one = slice(n, n + 1)
        alone = dict(layer, x=layer["x"][one], lengths=layer["lengths"][one], h0=layer["h0"][:, one])
        alone["c0"] = None if layer["c0"] is None else layer["c0"][:, one]
        y1, h1, c1, saved1 = kernels.recurrent_layer(cell, **alone, save=True)
        np.testing.assert_array_equal(y1, y[one])
        np.testing.assert_array_equal(h1, h_n[:, one])
        if cell == "lstm":
            np.testing.assert_array_equal(c1, c_n[:, one])
        dc1 = None if dc_n is None else dc_n[:, one]
        found = kernels.recurrent_layer_backward(
            cell, dy[one], dh_n[:, one], dc1, **alone, y=y1, saved=saved1
        )
        np.testing.assert_array_equal(found[0], dx[one])
        np.testing.assert_array_equal(found[1], dh0[:, one])


@pytest.mark.parametrize("cell", CELLS)
def test_chunks_of_samples_give_the_bits_of_single_samples(isa, rng, cell):
    # 40 samples take their steps in chunks, one alone unit by unit; 300 units are two blocks of sums.
    inputs, hidden = (70, 75) if isa == "cuda" else (270, 300)
    case = (40, 2, inputs, hidden, 1, (True, True), True, [2, 1] * 20)
    layer = make_layer(rng, cell, case, np.float32)
    y, h_n, c_n, saved = kernels.recurrent_layer(cell, **layer, save=True)
    dy, dh_n, dc_n = make_gradients(rng, cell, y, h_n)
    dx, dh0, *_ = kernels.recurrent_layer_backward(cell, dy, dh_n, dc_n, **layer, y=y, saved=saved)
    for n in (0, 19, 39):
        one = slice(n, n + 1)
        alone = dict(layer, x=layer["x"][one], lengths=layer["lengths"][one], h0=layer["h0"][:, one])
        alone["c0"] = None if layer["c0"] is None else layer["c0"][:, one]
        y1, h1, c1, saved1 = kernels.recurrent_layer(cell, **alone, save=True)
        np.testing.assert_array_equal(y1, y[one])
        np.testing.assert_array_equal(h1, h_n[:, one])
        if cell == "lstm":
            np.testing.assert_array_equal(c1, c_n[:, one])
        dc1 = None if dc_n is None else dc_n[:, one]
        found = kernels.recurrent_layer_backward(
            cell, dy[one], dh_n[:, one], dc1, **alone, y=y1, saved=saved1
        )
        np.testing.assert_array_equal(found[0], dx[one])
        np.testing.assert_array_equal(found[1], dh0[:, one])


@pytest.mark.parametrize("shape", [(5, 3, 70, 300, 2), (40, 3, 20, 70, 1), (50, 1, 20, 70, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_same_bits_at_any_number_of_threads(rng, cell, shape):
    layer = make_layer(rng, cell, (*shape, (True, True), True, None), np.float32)
    before = medkern.get_num_threads()
    results = []
    for threads in (1, 2, 3, 4):
        medkern.set_num_threads(threads)
        y, h_n, _, saved = kernels.recurrent_layer(cell, **layer, save=True)
        found = kernels.recurrent_layer_backward(
            cell, y, h_n, h_n if cell == "lstm" else None, **layer, y=y, saved=saved
        )
        results.append([a.tobytes() for a in (y, h_n, *found[:2], *(w for each in found[3] for w in each))])
    medkern.set_num_threads(before)
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("lengths", [None, [4, 1, 3]])
@pytest.mark.parametrize("cell", CELLS)
def test_memory_orders_agree(isa, rng, cell, lengths):
    layer = make_layer(rng, cell, (3, 4, 5, 18, 2, (True, True), True, lengths), np.float32)
    x = layer["x"]
    wide = np.zeros((3, 4, 10), np.float32)
    wide[..., ::2] = x
    time_major = np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)
    y, h_n, _, saved = kernels.recurrent_layer(cell, **layer, save=True)
    dc_n = h_n if cell == "lstm" else None
    expected = kernels.recurrent_layer_backward(cell, y, h_n, dc_n, **layer, y=y, saved=saved)
    assert y.flags.c_contiguous
    for other in (time_major, wide[..., ::2]):
        layer["x"] = other
        found, found_h, _, found_saved = kernels.recurrent_layer(cell, **layer, save=True)
        np.testing.assert_array_equal(found, y)
        np.testing.assert_array_equal(found_h, h_n)
        assert found.transpose(1, 0, 2).flags.c_contiguous == (other is time_major)
        dx, dh0, _, dweights = kernels.recurrent_layer_backward(
            cell, y, h_n, dc_n, **layer, y=found, saved=found_saved
        )
        np.testing.assert_array_equal(dx, expected[0])
        np.testing.assert_array_equal(dh0, expected[1])
        # The steps of all samples are summed in their order in memory.
        assert_close(dweights[1][1], expected[3][1][1], np.float32, terms=12)


def test_nan_and_infinity_pass(isa, rng):
    for cell in CELLS:
        layer = make_layer(rng, cell, (2, 3, 4, 17, 1, (True, True), False, None), np.float32)
        layer["x"][0, 1, 2] = np.nan
        y, *_ = kernels.recurrent_layer(cell, **layer)
        assert np.isfinite(y[0, 0]).all() and np.isfinite(y[1]).all()
        assert np.isnan(y[0, 1:]).all()
    x = np.full((1, 1, 1), np.inf, np.float32)
    one = np.ones((4, 1), np.float32)
    _, h_n, c_n, _ = kernels.recurrent_layer("lstm", x, [(one, one)])
    assert c_n == 1 and h_n == np.float32(np.tanh(np.float32(1)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacks(isa, rng, bidirectional):
    directions = 2 if bidirectional else 1
    x, lengths = rng.standard_normal((3, 4, 5)), np.array([4, 1, 3])
    for cell in CELLS:
        weights = make_weights(rng, cell, 5, 6, directions)
        weights += make_weights(rng, cell, 6 * directions, 6, directions)
        h0, c0 = rng.standard_normal((2, 2 * directions, 3, 6))
        options = dict(num_layers=2, bidirectional=bidirectional, lengths=lengths)
        if cell == "lstm":
            y, (h_n, c_n) = kernels.lstm(x, weights, (h0, c0), **options)
        elif cell == "gru":
            y, h_n = kernels.gru(x, weights, h0, **options)
        else:
            y, h_n = kernels.rnn(x, weights, h0, nonlinearity=cell[4:], **options)
        expected = reference.stack(
            cell, x, weights, h0, c0 if cell == "lstm" else None, lengths, 2, bidirectional
        )
        assert_close(y, expected[0], np.float64)
        assert_close(h_n, expected[1], np.float64)
        if cell == "lstm":
            assert_close(c_n, expected[2], np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch,inputs,hidden", [(1, 1, 1), (3, 16, 17), (0, 2, 3), (2, 5, 33)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_a_layer_of_one_step(isa, rng, cell, batch, inputs, hidden, dtype):
    case = (batch, 1, inputs, hidden, 1, (True, True), True, None)
    layer = make_layer(rng, cell, case, dtype)
    x, weights, h = layer["x"][:, 0], layer["weights"][0], layer["h0"][0]
    y, _, c_n, saved = kernels.recurrent_layer(cell, **layer, save=True)
    dh = rng.standard_normal(h.shape).astype(dtype)
    dc = dh[::-1].copy() if cell == "lstm" else None
    expected = kernels.recurrent_layer_backward(
        cell, None, dh[None], None if dc is None else dc[None], **layer, y=y, saved=saved
    )
    if cell == "lstm":
        c = layer["c0"][0]
        found_h, found_c, gates = kernels.lstm_cell(x, (h, c), *weights, save=True)
        np.testing.assert_array_equal(found_c, c_n[0])
        dx, (dh0, dc0), *dweights = kernels.lstm_cell_backward(dh, dc, gates, x, (h, c), *weights)
        np.testing.assert_array_equal(dc0, expected[2][0])
    elif cell == "gru":
        found_h, gates = kernels.gru_cell(x, h, *weights, save=True)
        dx, dh0, *dweights = kernels.gru_cell_backward(dh, gates, x, h, *weights)
    else:
        name = cell[4:]
        found_h, gates = kernels.rnn_cell(x, h, *weights, name, save=True)
        dx, dh0, *dweights = kernels.rnn_cell_backward(dh, gates, x, h, *weights, name)
    np.testing.assert_array_equal(found_h, y[:, 0])
    if cell in ("lstm", "gru"):
        plan = {"lstm": kernels.lstm_cell_plan, "gru": kernels.gru_cell_plan}[cell](*weights)
        out = np.empty_like(found_h)
        result = plan(x, (h, c) if cell == "lstm" else h, out=out)
        assert plan.nbytes >= sum(w.nbytes for w in weights)
        np.testing.assert_array_equal(out, found_h)
        np.testing.assert_array_equal(result[0] if cell == "lstm" else result, found_h)
        if cell == "lstm":
            np.testing.assert_array_equal(result[1], found_c)
    np.testing.assert_array_equal(dx, expected[0][:, 0])
    np.testing.assert_array_equal(dh0, expected[1][0])
    for a, b in zip(dweights, expected[3][0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_cells_start_from_zeros(rng):
    (weights,) = make_weights(rng, "lstm", 3, 4)
    x, zeros = rng.standard_normal((2, 3)), np.zeros((2, 4))
    for found, expected in zip(
        kernels.lstm_cell(x, None, *weights), kernels.lstm_cell(x, (zeros, zeros), *weights), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(
        kernels.lstm_cell_plan(*weights)(x), kernels.lstm_cell(x, None, *weights), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_cell_plan_keeps_its_own_weights(rng):
    (weights,) = make_weights(rng, "gru", 3, 4)
    x, plan = rng.standard_normal((2, 3)), kernels.gru_cell_plan(*weights)
    expected = plan(x)
    for w in weights:
        w[:] = 0
    np.testing.assert_array_equal(plan(x), expected)


def test_out_is_written(rng):
    x, weights = rng.standard_normal((2, 3, 4)), make_weights(rng, "gru", 4, 5, 2)
    expected, _ = kernels.gru(x, weights, bidirectional=True)
    out = np.empty((3, 2, 10)).transpose(1, 0, 2)  # any order of rows will do
    kernels.gru(x, weights, bidirectional=True, out=out)
    np.testing.assert_array_equal(out, expected)
    out = np.empty((2, 5))
    kernels.gru_cell(x[:, 0], None, *weights[0], out=out)
    np.testing.assert_array_equal(out, expected[:, 0, :5])


def test_results_are_of_the_kind_of_x(rng):
    x = _C.Array(rng.standard_normal((2, 3, 4)))
    y, (h_n, _) = kernels.lstm(x, make_weights(rng, "lstm", 4, 5))
    assert isinstance(y, _C.Array) and isinstance(h_n, _C.Array)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_plans_give_the_bits_of_the_plain_call(isa, rng, bidirectional):
    directions = 2 if bidirectional else 1
    for batch, steps, dtype in [
        (3, 4, np.float32),
        (30, 2, np.float32),
        (2, 1, np.float64),
        (0, 2, np.float32),
    ]:
        x = rng.standard_normal((batch, steps, 5)).astype(dtype)
        lengths = np.full(batch, steps)
        lengths[: batch // 2] -= 1
        options = dict(num_layers=2, bidirectional=bidirectional)
        h0, c0 = rng.standard_normal((2, 2 * directions, batch, 19)).astype(dtype)
        for cell, make, call, hx in [
            ("lstm", kernels.lstm_plan, kernels.lstm, (h0, c0)),
            ("gru", kernels.gru_plan, kernels.gru, h0),
        ]:
            weights = make_weights(rng, cell, 5, 19, directions, dtype=dtype)
            weights += make_weights(rng, cell, 19 * directions, 19, directions, dtype=dtype)
            plan = make(weights, **options)
            assert plan.nbytes >= sum(w.nbytes for each in weights for w in each)
            for state in (None, hx):
                y, h_n = plan(x, state, lengths=lengths)
                expected_y, expected_h = call(x, weights, state, lengths=lengths, **options)
                np.testing.assert_array_equal(y, expected_y)
                for found, wanted in zip(
                    h_n if cell == "lstm" else [h_n],
                    expected_h if cell == "lstm" else [expected_h],
                    strict=True,
                ):
                    np.testing.assert_array_equal(found, wanted)
            out = np.empty_like(y)
            plan(x, hx, lengths=lengths, out=out)
            np.testing.assert_array_equal(out, y)
            for each in weights:
                for w in each:
                    w[:] = 0
            np.testing.assert_array_equal(plan(x, hx, lengths=lengths)[0], y)
