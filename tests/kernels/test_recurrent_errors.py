import numpy as np
import pytest

from medkern import _C, kernels


def zeros(*shape, dtype=np.float64):
    return np.zeros(shape, dtype)


# N = 2, T = 3, I = 4, H = 5
def lstm_arguments(**changes):
    weights = dict(weight_ih=zeros(20, 4), weight_hh=zeros(20, 5), bias_ih=zeros(20), bias_hh=zeros(20))
    layer = dict(
        cell="lstm", x=zeros(2, 3, 4), h0=zeros(1, 2, 5), c0=zeros(1, 2, 5), lengths=np.array([3, 1])
    )
    for name, value in changes.items():
        (weights if name in weights else layer)[name] = value
    return dict(weights=[tuple(weights.values())], **layer)


FORWARD = [
    (dict(x=zeros(2, 4)), ValueError, "lstm: x must have 3 dimensions, got 2"),
    (dict(x=zeros(2, 3, 4, dtype=np.int64)), TypeError, "lstm: x must be float32 or float64, got int64"),
    (dict(x=zeros(2, 3, 6)), ValueError, r"lstm: weight_ih must have shape \(20, 6\), got \(20, 4\)"),
    (dict(x="text"), TypeError, "x must be an array"),
    (dict(weight_hh=zeros(20)), ValueError, "weight_hh must have 2 dimensions, got 1"),
    (dict(weight_hh=zeros(15, 5)), ValueError, r"weight_hh must have shape \(20, 5\), got \(15, 5\)"),
    (dict(weight_hh=zeros(0, 0)), ValueError, "weight_hh has a hidden size of 0"),
    (dict(weight_hh=zeros(20, 5, dtype=np.float32)), TypeError, "weight_hh must be float64 as x is"),
    (dict(weight_ih=zeros(4, 20)), ValueError, r"weight_ih must have shape \(20, 4\), got \(4, 20\)"),
    (dict(weight_ih=None), ValueError, "weight_ih is missing"),
    (dict(bias_ih=zeros(5)), ValueError, r"bias_ih must have shape \(20,\), got \(5,\)"),
    (dict(bias_hh=zeros(20, dtype=np.float32)), TypeError, "bias_hh must be float64 as x is"),
    (dict(h0=zeros(2, 5)), ValueError, r"h0 must have shape \(1, 2, 5\), got \(2, 5\)"),
    (dict(h0=zeros(2, 2, 5)), ValueError, r"h0 must have shape \(1, 2, 5\), got \(2, 2, 5\)"),
    (dict(c0=zeros(1, 2, 6)), ValueError, r"c0 must have shape \(1, 2, 5\), got \(1, 2, 6\)"),
    (dict(lengths=np.array([4, 1])), ValueError, "lengths must be from 0 to 3, got 4 at flat index 0"),
    (dict(lengths=np.array([3, -1])), ValueError, "lengths must be from 0 to 3, got -1 at flat index 1"),
    (dict(lengths=np.array([3])), ValueError, r"lengths must have shape \(2,\), got \(1,\)"),
    (dict(lengths=np.array([3.0, 1.0])), TypeError, "lengths must be int64, got float64"),
    (dict(lengths=[3, 1]), TypeError, "lengths must be an array"),
    (dict(cell="gru"), ValueError, r"gru: weight_hh must have shape \(15, 5\)"),
    (
        dict(cell="peephole"),
        ValueError,
        "cell must be 'lstm', 'gru', 'rnn_tanh' or 'rnn_relu', got 'peephole'",
    ),
]


@pytest.mark.parametrize("changes,error,message", FORWARD)
def test_bad_layers_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        kernels.recurrent_layer(**lstm_arguments(**changes))


def test_bad_weights_of_the_second_direction_are_named():
    layer = lstm_arguments(h0=None, c0=None)
    for position, name in enumerate(["weight_ih", "weight_hh", "bias_ih", "bias_hh"]):
        second = list(layer["weights"][0])
        second[position] = zeros(3)
        with pytest.raises(ValueError, match=f"{name}_reverse must have"):
            kernels.recurrent_layer(**{**layer, "weights": [layer["weights"][0], second]})


def test_bad_forms_of_weights_are_named():
    layer = lstm_arguments()
    for weights, error, message in [
        ([], ValueError, "weights must hold 1 or 2 directions, got 0"),
        (layer["weights"] * 3, ValueError, "weights must hold 1 or 2 directions, got 3"),
        ([layer["weights"][0][:3]], TypeError, r"weights of a direction must be \(weight_ih, weight_hh\)"),
        ([None], TypeError, "weights of a direction must be"),
    ]:
        with pytest.raises(error, match=message):
            kernels.recurrent_layer(**{**layer, "weights": weights})


def test_cell_states_are_for_lstm_only():
    x, weights = zeros(2, 3, 4), [(zeros(15, 4), zeros(15, 5))]
    with pytest.raises(ValueError, match="gru: c0 is for LSTM only"):
        kernels.recurrent_layer("gru", x, weights, c0=zeros(1, 2, 5))
    y, h_n, _, saved = kernels.recurrent_layer("gru", x, weights, save=True)
    with pytest.raises(ValueError, match="gru_backward: dc_n is for LSTM only"):
        kernels.recurrent_layer_backward("gru", y, None, h_n, x, weights, None, None, None, y, saved)


def test_bad_results_are_named():
    layer = lstm_arguments()
    backing = zeros(2, 3, 10)
    for out, error, message in [
        (zeros(2, 3, 6), ValueError, r"y must have shape \(2, 3, 5\), got \(2, 3, 6\)"),
        (zeros(2, 3, 5, dtype=np.float32), TypeError, "y must be float64 as x is"),
        (backing[..., ::2], ValueError, "columns of y must be contiguous"),
        (
            np.lib.stride_tricks.as_strided(backing, (2, 3, 5), (8, 40, 8)),
            ValueError,
            "rows of y overlap",
        ),
    ]:
        with pytest.raises(error, match=message):
            kernels.recurrent_layer(**layer, out=out)
    memory = zeros(2, 3, 5)
    layer["x"] = memory[..., :4]  # copied, for it is not dense: so it may share memory with y
    kernels.recurrent_layer(**layer, out=memory)
    square = lstm_arguments(x=memory, weight_ih=zeros(20, 5))
    with pytest.raises(ValueError, match="y must not share memory with x"):
        kernels.recurrent_layer(**square, out=memory)


BACKWARD = [
    (dict(dy=zeros(2, 3, 6)), ValueError, r"lstm_backward: dy must have shape \(2, 3, 5\), got \(2, 3, 6\)"),
    (dict(dy=zeros(2, 3, 5, dtype=np.float32)), TypeError, "dy must be float64 as x is"),
    (dict(dh_n=zeros(2, 5)), ValueError, r"dh_n must have shape \(1, 2, 5\), got \(2, 5\)"),
    (dict(dc_n=zeros(1, 1, 5)), ValueError, r"dc_n must have shape \(1, 2, 5\), got \(1, 1, 5\)"),
    (dict(x=zeros(2, 2, 4)), ValueError, "lengths must be from 0 to 2, got 3"),
    (dict(lengths=np.array([3, 9])), ValueError, "lengths must be from 0 to 3, got 9"),
    (dict(y=None), ValueError, "y is missing"),
    (dict(y=zeros(2, 2, 5)), ValueError, r"y must have shape \(2, 3, 5\), got \(2, 2, 5\)"),
    (dict(saved=None), TypeError, "saved must be an array"),
    (dict(saved=zeros(1, 2, 3, 20)), ValueError, r"saved must have shape \(1, 2, 3, 25\)"),
    (
        dict(saved=zeros(1, 3, 2, 25).transpose(0, 2, 1, 3)),
        ValueError,
        "saved must be dense in the order of x",
    ),
]


@pytest.mark.parametrize("changes,error,message", BACKWARD)
def test_bad_backward_arguments_are_named(changes, error, message):
    layer = lstm_arguments()
    y, h_n, c_n, saved = kernels.recurrent_layer(**layer, save=True)
    arguments = dict(**layer, dy=y, dh_n=h_n, dc_n=c_n, y=y, saved=saved)
    with pytest.raises(error, match=message):
        kernels.recurrent_layer_backward(**{**arguments, **changes})


def test_bad_stacks_are_named():
    x, weights = zeros(2, 3, 4), [(zeros(20, 4), zeros(20, 5))]
    for options, error, message in [
        (
            dict(num_layers=2),
            ValueError,
            "lstm: weights must hold one entry per layer and direction, 2 in all, got 1",
        ),
        (dict(bidirectional=True), ValueError, "2 in all, got 1"),
        (dict(num_layers=0), ValueError, "num_layers must be an int of at least 1, got 0"),
        (dict(num_layers=1.5), ValueError, "num_layers must be an int of at least 1, got 1.5"),
        (dict(hx=zeros(1, 2, 5)), TypeError, r"hx must be a pair \(h0, c0\) or None, got ndarray"),
        (dict(hx=(zeros(2, 2, 5), None)), ValueError, r"h0 must have shape \(1, N, H\), got \(2, 2, 5\)"),
        (dict(hx=(None, zeros(2, 5))), ValueError, r"c0 must have shape \(1, N, H\), got \(2, 5\)"),
        (dict(hx=(zeros(1, 3, 5), None)), ValueError, r"h0 must have shape \(1, 2, 5\), got \(1, 3, 5\)"),
    ]:
        with pytest.raises(error, match=message):
            kernels.lstm(x, weights, **options)
    with pytest.raises(ValueError, match="rnn: nonlinearity must be 'tanh' or 'relu', got 'gelu'"):
        kernels.rnn(x, weights, nonlinearity="gelu")


def test_bad_cells_are_named():
    x, h, weight_ih, weight_hh = zeros(2, 4), zeros(2, 5), zeros(20, 4), zeros(20, 5)
    for arguments, error, message in [
        ((zeros(2, 3, 4), (h, h)), ValueError, "lstm_cell: x must have 2 dimensions, got 3"),
        ((x, (zeros(1, 2, 5), h)), ValueError, r"lstm_cell: h0 must have shape \(2, 5\), got \(1, 2, 5\)"),
        ((x, (h, zeros(2, 4))), ValueError, r"lstm_cell: c0 must have shape \(2, 5\), got \(2, 4\)"),
        ((x, h), TypeError, r"lstm_cell: hx must be a pair"),
    ]:
        with pytest.raises(error, match=message):
            kernels.lstm_cell(*arguments, weight_ih, weight_hh)
    with pytest.raises(ValueError, match=r"gru_cell: weight_hh must have shape \(15, 5\), got \(20, 5\)"):
        kernels.gru_cell(x, h, weight_ih, weight_hh)
    with pytest.raises(ValueError, match="rnn_cell: nonlinearity must be"):
        kernels.rnn_cell(x, h, weight_ih, weight_hh, nonlinearity="sigmoid")
    _, _, saved = kernels.lstm_cell(x, None, weight_ih, weight_hh, save=True)
    with pytest.raises(ValueError, match=r"lstm_cell_backward: dh_n must have shape \(2, 5\), got \(2, 6\)"):
        kernels.lstm_cell_backward(zeros(2, 6), None, saved, x, None, weight_ih, weight_hh)
    with pytest.raises(ValueError, match=r"lstm_cell_backward: saved must have shape \(2, 25\)"):
        kernels.lstm_cell_backward(h, None, saved[:1], x, None, weight_ih, weight_hh)


def test_sizes_past_64_bits_are_refused():
    empty = zeros(2**29, 2**29, 0)
    with pytest.raises(MemoryError, match="rnn: a size overflows 64 bits"):
        kernels.recurrent_layer("rnn_tanh", empty, [(zeros(3, 0), zeros(3, 3))])


def test_bad_arguments_of_plans_are_named():
    weights = [(zeros(20, 4), zeros(20, 5))]
    for call, error, message in [
        (lambda: kernels.lstm_plan(weights, num_layers=2), ValueError, "lstm_plan: weights must hold one"),
        (lambda: kernels.lstm_plan([(zeros(20, 4), zeros(15, 5))]), ValueError, "weight_hh must have shape"),
        (lambda: kernels.lstm_plan([(zeros(20), zeros(20, 5))]), ValueError, "weight_ih must have 2"),
        (
            lambda: kernels.lstm_plan([(zeros(20, 4, dtype=int), zeros(20, 5))]),
            TypeError,
            "weight_ih must be",
        ),
        (lambda: kernels.gru_plan(weights), ValueError, "weight_hh must have shape"),
        (lambda: kernels.lstm_plan([None]), TypeError, "weights of a direction must be"),
    ]:
        with pytest.raises(error, match=message):
            call()
    plan = kernels.lstm_plan(weights)
    for arguments, error, message in [
        ((zeros(2, 3, 6),), ValueError, "lstm: the weights expect x with 4 features, got 6"),
        ((zeros(2, 3, 4, dtype=np.float32),), TypeError, "lstm: x must be float64 as the weights are"),
        ((zeros(2, 4),), ValueError, "lstm: x must have 3 dimensions, got 2"),
        ((zeros(2, 3, 4), zeros(1, 2, 5)), TypeError, r"lstm: hx must be a pair \(h0, c0\)"),
        ((zeros(2, 3, 4), (zeros(2, 2, 5), None)), ValueError, r"lstm: h0 must have shape \(1, N, H\)"),
        ((zeros(2, 3, 4), (zeros(1, 2, 6), None)), ValueError, r"h0 must have shape \(1, 2, 5\)"),
    ]:
        with pytest.raises(error, match=message):
            plan(*arguments)


def test_bad_arguments_of_cell_plans_are_named():
    weights = zeros(20, 4), zeros(20, 5)
    for call, error, message in [
        (lambda: kernels.lstm_cell_plan(zeros(20, 4), zeros(15, 5)), ValueError, "weight_hh must have shape"),
        (
            lambda: kernels.lstm_cell_plan(zeros(20), zeros(20, 5)),
            ValueError,
            "lstm_cell: weight_ih must hav",
        ),
        (lambda: kernels.gru_cell_plan(*weights), ValueError, "gru_cell: weight_hh must have shape"),
        (lambda: kernels.lstm_cell_plan(None, None), ValueError, "lstm_cell: weight_ih is missing"),
        (lambda: kernels.lstm_cell_plan(*weights, zeros(5)), ValueError, "lstm_cell: bias_ih must have"),
    ]:
        with pytest.raises(error, match=message):
            call()
    plan = kernels.lstm_cell_plan(*weights)
    state = zeros(2, 5)
    for arguments, error, message in [
        ((zeros(2, 6),), ValueError, "lstm_cell: the weights expect x with 4 features, got 6"),
        ((zeros(2, 4, dtype=np.float32),), TypeError, "lstm_cell: x must be float64 as the weights are"),
        ((zeros(2, 3, 4),), ValueError, "lstm_cell: x must have 2 dimensions, got 3"),
        ((zeros(2, 4), state), TypeError, r"lstm_cell: hx must be a pair \(h0, c0\)"),
        ((zeros(2, 4), (zeros(2, 6), state)), ValueError, r"h0 must have shape \(2, 5\)"),
        ((zeros(2, 4), (state, zeros(3, 5))), ValueError, r"c0 must have shape \(2, 5\)"),
    ]:
        with pytest.raises(error, match=message):
            plan(*arguments)
    with pytest.raises(ValueError, match=r"h_n must have shape \(2, 5\)"):
        plan(zeros(2, 4), out=zeros(2, 6))


def test_a_plan_serves_one_instruction_set():
    names = _C.isa_names()
    if len(names) < 2:
        pytest.skip("this processor runs one instruction set")
    before = _C.isa_active()
    try:
        _C.isa_select(names[0])
        plan = kernels.gru_plan([(zeros(15, 4), zeros(15, 5))])
        _C.isa_select(names[1])
        with pytest.raises(ValueError, match="another instruction set"):
            plan(zeros(2, 3, 4))
    finally:
        _C.isa_select(before)
