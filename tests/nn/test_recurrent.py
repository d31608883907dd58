import numpy as np
import pytest

import medkern
from medkern import functional, nn

LAYERS = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
CELLS = {nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU, nn.RNNCell: nn.RNN}


@pytest.fixture(autouse=True)
def seed():
    medkern.random.manual_seed(1)


def hidden_state(results):
    """h_n of any layer's results."""
    return results[1][0] if isinstance(results[1], tuple) else results[1]


@pytest.mark.parametrize("layer", LAYERS)
def test_parameters_have_the_usual_names_and_shapes(layer):
    rows = LAYERS[layer] * 5
    shapes = {name: p.shape for name, p in layer(3, 5, num_layers=2, bidirectional=True).named_parameters()}
    expected = {}
    for suffix, columns in [("l0", 3), ("l0_reverse", 3), ("l1", 10), ("l1_reverse", 10)]:
        expected[f"weight_ih_{suffix}"] = (rows, columns)
        expected[f"weight_hh_{suffix}"] = (rows, 5)
        expected[f"bias_ih_{suffix}"] = expected[f"bias_hh_{suffix}"] = (rows,)
    assert shapes == expected
    assert set(dict(layer(3, 5, bias=False).named_parameters())) == {"weight_ih_l0", "weight_hh_l0"}


@pytest.mark.parametrize("module", [*LAYERS, *CELLS])
def test_parameters_start_uniform(module):
    bound = 1 / np.sqrt(64)
    for parameter in module(32, 64).parameters():
        values = parameter.numpy()
        assert np.abs(values).max() <= bound
        assert values.max() > 0.8 * bound and values.min() < -0.8 * bound
        # 4 standard errors of the mean of uniform numbers
        assert abs(values.mean()) < 4 * bound / np.sqrt(3 * values.size)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_forward_is_that_of_the_functional(rng, layer, batch_first):
    module = layer(3, 4, num_layers=2, batch_first=batch_first, bidirectional=True)
    x = medkern.tensor(rng.standard_normal((3, 3, 3)).astype(np.float32))
    lengths = np.array([3, 0, 2])
    states = [medkern.tensor(rng.standard_normal((4, 3, 4)).astype(np.float32)) for _ in range(2)]
    hx = tuple(states) if layer is nn.LSTM else states[0]
    parameters = list(module.parameters())
    weights = [parameters[i : i + 4] for i in range(0, 16, 4)]
    function = {nn.LSTM: functional.lstm, nn.GRU: functional.gru, nn.RNN: functional.rnn}[layer]
    options = dict(num_layers=2, bidirectional=True, batch_first=batch_first, lengths=lengths)
    expected = function(x, weights, hx, **options)
    found = module(x, hx, lengths=lengths)
    np.testing.assert_array_equal(found[0].numpy(), expected[0].numpy())
    np.testing.assert_array_equal(hidden_state(found).numpy(), hidden_state(expected).numpy())


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_step_by_step_is_the_layer(rng, cell):
    layer, one = CELLS[cell](3, 5), cell(3, 5)
    one.load_state_dict({name[:-3]: value for name, value in layer.state_dict().items()})
    x = rng.standard_normal((4, 2, 3)).astype(np.float32)
    y, _ = layer(medkern.tensor(x))
    state = None
    for t in range(4):
        state = one(medkern.tensor(x[t]), state)
        h = state[0] if isinstance(state, tuple) else state
        # The same sums in the same order; on CUDA a sequence has all its inputs multiplied at once before.
        np.testing.assert_allclose(h.numpy(), y.numpy()[t], rtol=0, atol=1e-6 if h.is_cuda else 0)


def test_relu_networks(rng):
    x = medkern.tensor(rng.standard_normal((4, 2, 3)).astype(np.float32))
    y, _ = nn.RNN(3, 5, nonlinearity="relu")(x)
    h = nn.RNNCell(3, 5, nonlinearity="relu")(medkern.tensor(x.numpy()[0]))
    assert y.numpy().min() == 0 == h.numpy().min() and y.numpy().max() > 0


def test_dropout_is_between_layers_and_in_training_only(rng):
    x = medkern.tensor(rng.standard_normal((6, 4, 3)).astype(np.float32))
    module = nn.GRU(3, 8, num_layers=2, dropout=0.5)
    first, _ = module(x)
    second, _ = module(x)
    assert not np.array_equal(first.numpy(), second.numpy())
    assert (first.numpy() != 0).all()  # the last layer's results are whole
    module.eval()
    quiet, _ = module(x)
    np.testing.assert_array_equal(quiet.numpy(), module(x)[0].numpy())

    single = nn.GRU(3, 8, dropout=0.5)
    np.testing.assert_array_equal(single(x)[0].numpy(), single(x)[0].numpy())

    # All dropped: the second layer sees zeros only, so the first gets no gradient.
    blind = nn.GRU(3, 8, num_layers=2, dropout=1.0)
    y, _ = blind(x)
    y.backward(medkern.tensor(np.ones(y.shape, np.float32)))
    assert (blind.weight_ih_l0.grad.numpy() == 0).all()
    assert (blind.weight_ih_l1.grad.numpy() == 0).all()
    assert (blind.weight_hh_l1.grad.numpy() != 0).any()


def test_the_gradient_of_dropout_uses_its_own_mask(rng):
    module = nn.RNN(2, 3, num_layers=2, dropout=0.5).to(np.float64)
    x = rng.standard_normal((2, 2, 2))

    def total(values):
        medkern.random.manual_seed(5)
        tensor = medkern.tensor(values, requires_grad=True)
        y, _ = module(tensor)
        return tensor, y

    tensor, y = total(x)
    y.backward(medkern.tensor(np.ones(y.shape)))
    for at in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[at] = 1e-6
        difference = (total(x + step)[1].numpy().sum() - total(x - step)[1].numpy().sum()) / 2e-6
        assert abs(tensor.grad.numpy()[at] - difference) < 1e-7


def test_a_network_learns_to_remember(rng):
    """The first input of a sequence, given at its end: gradients reach back through all steps."""
    x = rng.standard_normal((32, 3, 1)).astype(np.float32)
    module = nn.LSTM(1, 8, batch_first=True)
    losses = []
    for _ in range(100):
        y, _ = module(medkern.tensor(x))
        error = y.numpy()[:, -1, 0] - np.tanh(x[:, 0, 0])
        losses.append(float(np.mean(error**2)))
        dy = np.zeros(y.shape, np.float32)
        dy[:, -1, 0] = error / len(x)
        module.zero_grad()
        y.backward(medkern.tensor(dy))
        for parameter in module.parameters():
            parameter.copy_(parameter.numpy() - 3 * parameter.grad.numpy())
    assert min(losses) < 0.3 * losses[0]  # steps as long as these overshoot now and then


def test_bad_arguments_are_named():
    for arguments, error, message in [
        (dict(input_size=0), ValueError, "LSTM: input_size must be positive, got 0"),
        (dict(hidden_size=-1), ValueError, "LSTM: hidden_size must be positive, got -1"),
        (dict(num_layers=0), ValueError, "LSTM: num_layers must be positive, got 0"),
        (dict(hidden_size=2.0), TypeError, "LSTM: hidden_size must be an int, got 2.0"),
        (dict(dropout=-0.1), ValueError, r"LSTM: dropout must lie in \[0, 1\], got -0.1"),
    ]:
        with pytest.raises(error, match=message):
            nn.LSTM(**{**dict(input_size=3, hidden_size=4), **arguments})
    with pytest.raises(ValueError, match="GRUCell: hidden_size must be positive, got 0"):
        nn.GRUCell(3, 0)


def test_repr():
    assert repr(nn.LSTM(3, 4)) == "LSTM(3, 4)"
    assert repr(nn.GRU(3, 4, 2, dropout=0.5)) == "GRU(3, 4, num_layers=2, dropout=0.5)"
    assert repr(nn.RNNCell(3, 4, bias=False)) == "RNNCell(3, 4, bias=False)"
