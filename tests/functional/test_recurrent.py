import numpy as np
import pytest

import medkern
from medkern import functional, kernels
from medkern.testing import gradcheck

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1}


def make_weights(rng, gates, inputs, hidden, layers, directions):
    weights = []
    for layer in range(layers):
        for _ in range(directions):
            columns = inputs if layer == 0 else hidden * directions
            shapes = [(gates * hidden, columns), (gates * hidden, hidden)] + [(gates * hidden,)] * 2
            weights.append([rng.standard_normal(shape) for shape in shapes])
    return weights


def run(cell, x, weights, h0, c0, **options):
    """Results as a flat tuple, whatever the cell."""
    if cell == "lstm":
        y, (h_n, c_n) = functional.lstm(x, weights, (h0, c0), **options)
        return y, h_n, c_n
    return (
        functional.gru(x, weights, h0, **options)
        if cell == "gru"
        else functional.rnn(x, weights, h0, **options)
    )


@pytest.mark.parametrize(
    "layers,bidirectional,batch_first,lengths",
    [
        (1, False, True, None),
        (1, True, False, [3, 1]),
        (2, False, False, None),
        (2, True, True, [2, 3]),
        (1, False, False, [0, 3]),
    ],
)
@pytest.mark.parametrize("cell", GATES)
def test_sequence_gradients(rng, cell, layers, bidirectional, batch_first, lengths):
    directions = 2 if bidirectional else 1
    batch, steps, inputs, hidden = 2, 3, 2, 3
    weights = make_weights(rng, GATES[cell], inputs, hidden, layers, directions)
    flat = [w for each in weights for w in each]
    x = rng.standard_normal((batch, steps, inputs) if batch_first else (steps, batch, inputs))
    states = list(rng.standard_normal((2 if cell == "lstm" else 1, layers * directions, batch, hidden)))
    options = dict(
        num_layers=layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        lengths=None if lengths is None else np.array(lengths),
    )

    def function(x, h0, *rest):
        c0, parameters = (rest[0], rest[1:]) if cell == "lstm" else (None, rest)
        grouped = [parameters[i : i + 4] for i in range(0, len(parameters), 4)]
        return run(cell, x, grouped, h0, c0, **options)

    gradcheck(function, [x, *states, *flat])


def test_relu_gradient(rng):
    weights = make_weights(rng, 1, 2, 3, 1, 1)[0]
    gradcheck(
        lambda x, *w: functional.rnn(x, [w], nonlinearity="relu"), [rng.standard_normal((3, 2, 2)), *weights]
    )


@pytest.mark.parametrize("bias", [True, False])
def test_cell_gradients(rng, bias):
    x, h, c = rng.standard_normal((2, 3)), rng.standard_normal((2, 4)), rng.standard_normal((2, 4))

    def weights(gates):
        return make_weights(rng, gates, 3, 4, 1, 1)[0][: 4 if bias else 2]

    gradcheck(lambda x, h, c, *w: functional.lstm_cell(x, (h, c), *w), [x, h, c, *weights(4)])
    gradcheck(functional.gru_cell, [x, h, *weights(3)])
    for nonlinearity in ("tanh", "relu"):
        gradcheck(
            lambda x, h, *w, act=nonlinearity: functional.rnn_cell(
                x, h, *w, *[None] * (4 - len(w)), nonlinearity=act
            ),
            [x, h, *weights(1)],
        )


def test_both_orders_of_axes_agree(rng):
    weights = [[medkern.tensor(w) for w in each] for each in make_weights(rng, 3, 2, 5, 2, 2)]
    x = rng.standard_normal((4, 3, 2))
    options = dict(num_layers=2, bidirectional=True, lengths=medkern.tensor([4, 2, 0]))
    y, h_n = functional.gru(medkern.tensor(x), weights, **options)
    swapped = medkern.tensor(x.transpose(1, 0, 2))
    y_batch, h_batch = functional.gru(swapped, weights, batch_first=True, **options)
    assert y.shape == (4, 3, 10) and y_batch.shape == (3, 4, 10)
    np.testing.assert_array_equal(y.numpy(), y_batch.numpy().transpose(1, 0, 2))
    np.testing.assert_array_equal(h_n.numpy(), h_batch.numpy())


def test_results_are_those_of_the_kernels(rng):
    weights = make_weights(rng, 4, 2, 5, 2, 1)
    x = rng.standard_normal((3, 4, 2))
    y, (h_n, c_n) = kernels.lstm(x, weights, num_layers=2)
    tensors = [[medkern.tensor(w) for w in each] for each in weights]
    found, (found_h, found_c) = functional.lstm(medkern.tensor(x), tensors, num_layers=2, batch_first=True)
    for a, b in [(found, y), (found_h, h_n), (found_c, c_n)]:
        np.testing.assert_array_equal(a.numpy(), b)


def test_frozen_weights_get_no_gradient(rng):
    weights = [[medkern.tensor(w) for w in make_weights(rng, 4, 2, 3, 1, 1)[0]]]
    x = medkern.tensor(rng.standard_normal((3, 2, 2)), requires_grad=True)
    y, _ = functional.lstm(x, weights)
    y.backward(medkern.tensor(np.ones(y.shape)))
    assert x.grad.shape == x.shape and weights[0][0].grad is None


def test_bad_arguments_are_named(rng):
    x = medkern.tensor(rng.standard_normal((3, 2, 2)))
    weights = [[medkern.tensor(w) for w in each] for each in make_weights(rng, 4, 2, 3, 1, 1)]
    for options, error, message in [
        (dict(num_layers=2), ValueError, "2 in all, got 1"),
        (dict(dropout=1.5), ValueError, "lstm: dropout must be from 0 to 1, got 1.5"),
        (dict(hx=x), TypeError, "hx must be a pair"),
        (dict(lengths=np.array([4, 1])), ValueError, "lengths must be from 0 to 3, got 4"),
    ]:
        with pytest.raises(error, match=message):
            functional.lstm(x, weights, **options)[
                0
            ].numpy()  # a device tells of indices when one waits for it
    with pytest.raises(TypeError, match=r"weights must hold .* got 3 tensors"):
        functional.lstm(x, [weights[0][:3]])
    with pytest.raises(ValueError, match="lstm: x must have 3 dimensions, got 2"):
        functional.lstm(medkern.tensor(np.zeros((2, 2))), weights)


def test_a_second_derivative_is_refused(rng):
    weights = [[medkern.tensor(w) for w in make_weights(rng, 1, 2, 3, 1, 1)[0]]]
    x = medkern.tensor(rng.standard_normal((3, 2, 2)), requires_grad=True)
    y, _ = functional.rnn(x, weights)
    with pytest.raises(RuntimeError, match="Recurrent can be differentiated once only"):
        y.backward(y, create_graph=True)
