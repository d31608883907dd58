"""Compiled models against the models themselves."""

import threading

import numpy as np
import pytest

import medkern
from compiled import Apply, agree, draw_statistics, eager, flat, image, poison
from medkern import _C, functional, models, nn
from medkern.functional.conv import Conv, ConvTranspose
from medkern.functional.pointwise import Add
from medkern.inference import TraceError

# Folded batch norms round the product of weight and scale once more, which moves a result by about 2^-24 per
# term of its sum; a few layers on, errors stay below 1e-5 of the largest value.
FOLDED = 1e-5


# ---------------------------------------------------------------- whole networks


@pytest.mark.parametrize("norm", [None, "batch", "instance", "group"])
@pytest.mark.parametrize("up", ["transposed", "resize"])
@pytest.mark.parametrize("rank", [2, 3])
def test_unet(rng, norm, up, rank):
    filters, size = ((4, 8, 20), 24) if rank == 2 else ((4, 8), 10)
    model = models.UNet(2, 3, spatial_dims=rank, filters=filters, norm=norm, up=up, activation="softmax")
    draw_statistics(model, rng)
    agree(model, image(rng, 2, 2, *(size,) * rank), tolerance=FOLDED)


class Residual(nn.Module):
    """A small ResNet: norms, sums that are read twice, strides, groups, global pooling, dropout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.a = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(8))
        self.c = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12))
        self.short = nn.Sequential(nn.Conv2d(8, 12, 1, stride=2, bias=False), nn.BatchNorm2d(12))
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, x):
        x = self.pool(self.stem(x))
        x = functional.relu(x + self.b(self.a(x)))
        x = functional.relu(self.c(x) + self.short(x))
        return self.head(self.dropout(functional.flatten(self.mean(x), 1)))


def test_residual_network(rng):
    model = Residual()
    draw_statistics(model, rng)
    compiled = agree(model, image(rng, 2, 3, 32, 32), tolerance=FOLDED)
    x = image(rng, 3, 3, 40, 24)
    np.testing.assert_allclose(compiled(x).numpy(), eager(model, x).numpy(), atol=1e-5)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_network(rng, kind, batch_first):
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 6)
            self.layers = kind(6, 5, num_layers=2, bidirectional=True, batch_first=batch_first)
            self.cell = nn.LSTMCell(10, 4)
            self.head = nn.Linear(4, 3)

        def forward(self, tokens, state):
            y, h = self.layers(self.embed(tokens), state)
            last = y[:, -1] if batch_first else y[-1]
            hidden, _ = self.cell(last)
            return {"logits": self.head(hidden), "y": y, "state": h}

    tokens, state = rng.integers(0, 20, (3, 7)), image(rng, 4, 3 if batch_first else 7, 5)
    model = Text()
    if kind is nn.LSTM:
        model = Apply(lambda tokens, state, text=model: text(tokens, (state, state)))
    agree(model, tokens, state)


def test_lengths_may_be_an_input(rng):
    layer = nn.GRU(3, 4, batch_first=True)
    model = Apply(lambda x, lengths: layer(x, lengths=lengths))
    agree(model, image(rng, 2, 5, 3), np.array([5, 2]))


# ---------------------------------------------------------------- strips, which are for a processor's caches


@pytest.fixture
def thin_strips(monkeypatch):
    """Strips of two rows on images of any size."""
    thin = {"_LEAST_BYTES": 0, "_LEAST_SHARE": 0, "_STRIP_BYTES": 1, "_LEAST_ROWS": 2, "_ROWS": 2}
    for name, value in thin.items():
        monkeypatch.setattr(medkern.inference.strips, name, value)


def count_strips(compiled):
    return [step.function for step in steps_of(compiled)].count(medkern.inference.strips.Strips)


@pytest.mark.cpu
@pytest.mark.parametrize("norm", [None, "batch", "instance"])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("activation", [None, "sigmoid", "softmax"])
def test_unet_in_strips(rng, thin_strips, norm, rank, activation):
    model = models.UNet(1, 3, spatial_dims=rank, filters=(4, 8, 6), norm=norm, activation=activation)
    draw_statistics(model, rng)
    size = (36, 20) if rank == 2 else (20, 12, 8)
    compiled = agree(model, image(rng, 2, 1, *size), tolerance=FOLDED)
    assert norm == "instance" or count_strips(compiled) >= 4


@pytest.mark.cpu
def test_chains_of_any_windows_in_strips(rng, thin_strips):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 4, (5, 3), padding=(2, 0), activation="relu")
            self.b = nn.Conv2d(4, 6, 4, padding="same", dilation=2)
            self.c = nn.Conv2d(6, 5, 3, stride=2)
            self.up = nn.ConvTranspose2d(5, 4, (2, 3), stride=(2, 1))
            self.d = nn.Conv2d(8, 4, 3, padding=((0, 3), (1, 1)), groups=4)

        def forward(self, x):
            y = functional.tanh(self.c(functional.relu(self.b(self.a(x)))))
            z = self.up(y)
            w = self.d(functional.concat([functional.exp(z), self.up(y)], 1))
            return w, self.d(functional.concat([z, z[:, :, :, :]], 1))

    for size in (31, 32, 40):
        compiled = agree(Model(), image(rng, 2, 3, size, 17), tolerance=1e-6)
        assert count_strips(compiled) >= 2


@pytest.mark.cpu
def test_strips_take_less_memory_and_give_the_same_for_an_item_alone(rng):
    model = models.UNet(filters=(16, 32))
    x = image(rng, 2, 1, 512, 512)
    compiled = medkern.compile(model, x[:1])
    assert count_strips(compiled) == 2
    assert compiled.nbytes["arena"] < 3 * 16 * 512 * 512 * 4
    together = compiled(x).numpy()
    for i in range(2):
        np.testing.assert_array_equal(compiled(x[i : i + 1]).numpy(), together[i : i + 1])


# ---------------------------------------------------------------- what the passes do


def steps_of(compiled):
    (program,) = compiled._programs.values()
    return program._graph.steps


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_and_relu_join_a_convolution(rng, rank, affine):
    conv, transposed, norm = (
        getattr(nn, f"{name}{rank}d") for name in ("Conv", "ConvTranspose", "BatchNorm")
    )
    model = nn.Sequential(
        conv(3, 6, 3, groups=3, bias=affine),
        norm(6, affine=affine),
        nn.ReLU(),
        transposed(6, 4, 2, stride=2, groups=2),
        norm(4, affine=affine),
        norm(4),
    )
    draw_statistics(model, rng)
    compiled = agree(model, image(rng, 2, 3, *(6,) * rank), tolerance=FOLDED)
    assert [step.function for step in steps_of(compiled)] == [Conv, ConvTranspose]


def test_relu_joins_a_sum(rng):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return functional.relu(self.conv(x) + x)

    compiled = agree(Model(), image(rng, 2, 3, 6, 6))
    assert [(step.function, step.activation) for step in steps_of(compiled)] == [(Conv, None), (Add, "relu")]


def test_weights_of_recurrent_layers_are_prepared(rng):
    class Wrapped(nn.Module):
        def __init__(self, layer, part):
            super().__init__()
            self.layer, self.part = layer, part

        def forward(self, x):
            return self.layer(x)[self.part]

    layer = nn.LSTM(3, 4, num_layers=2, batch_first=True)
    for part in (0, 1):  # only y, or only the states, are wanted
        agree(Wrapped(layer, part), image(rng, 2, 5, 3))
    compiled = agree(layer, image(rng, 2, 5, 3))
    (plans,) = compiled._weights._kept.values()
    assert [type(plan) for plan in plans] == [_C.RecurrentPlan] * 2
    assert compiled.nbytes["weights"] == sum(plan.nbytes for plan in plans)


def test_what_is_read_twice_is_not_folded(rng):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.norm = nn.BatchNorm2d(2)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y), functional.relu(y)

    model = Model()
    draw_statistics(model, rng)
    assert len(steps_of(agree(model, image(rng, 1, 1, 6, 6)))) == 3


def test_batch_norm_over_another_axis_than_the_linear_layer(rng):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(3))
    draw_statistics(model, rng)
    agree(model, image(rng, 2, 3, 4))


def test_relu_before_batch_norm_stays_before_it(rng):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2))
    draw_statistics(model, rng)
    agree(model, image(rng, 1, 1, 6, 6))


def test_what_nobody_reads_is_not_computed(rng):
    model = Apply(lambda x: (functional.exp(x), functional.relu(x))[1])
    assert len(steps_of(agree(model, image(rng, 3)))) == 1


def test_in_place_spares_memory_but_not_what_is_still_read(rng):
    def chain(x):
        a = functional.exp(x)
        b = functional.relu(functional.sigmoid(a))
        return a + b, b[1:], functional.tanh(b[:1])

    agree(Apply(chain), image(rng, 4, 5))
    long = medkern.compile(
        Apply(lambda x: functional.exp(x).relu().sigmoid().tanh().sum()), np.ones(1024, "f4")
    )
    assert long.nbytes["arena"] == 4096


def test_parts_of_a_concatenation_are_computed_in_place(rng):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(14, 4, 1)
            self.norm = nn.InstanceNorm2d(3)

        def forward(self, x):
            a, b = self.a(x), self.b(x)
            whole = functional.concat(
                [a, b, x, self.norm(a), functional.exp(functional.sigmoid(x))[:, :1]], 1
            )
            after = functional.relu(a) if self.early else None
            y = functional.max_pool2d(b, 2)
            return (
                self.c(functional.exp(whole)),
                y,
                functional.relu(a) if after is None else after,
                whole.sum(),
            )

    for early in (False, True):
        model = Model()
        model.early = early
        agree(model, image(rng, 2, 2, 6, 6))
    twice = nn.Sequential(
        nn.Conv2d(1, 4, 3), Apply(lambda x: functional.concat([x, x, functional.relu(x)], 1))
    )
    agree(twice, image(rng, 2, 1, 6, 6))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: (x, x),
        lambda x: x[0],
        lambda x: [functional.relu(x)] * 2,
        lambda x: medkern.tensor([1.0, 2.0]),
        lambda x: {"a": (functional.relu(x), None), "b": x.reshape(-1)},
    ],
)
def test_results_of_any_structure_are_memory_of_their_own(rng, function):
    x = image(rng, 2, 3)
    compiled = agree(Apply(function), x)
    first = flat(compiled(x))
    kept = [array.copy() for array in first]
    compiled(x + 1)
    poison(compiled)
    for result, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(result, before)
        assert not np.shares_memory(result, x)


# ---------------------------------------------------------------- shapes, threads, weights


def test_shapes_may_come_and_go(rng):
    model = models.UNet(filters=(4, 8), norm="batch")
    compiled = medkern.compile(model, image(rng, 1, 1, 8, 8))
    sizes = [
        (1, 8, 8),
        (3, 16, 8),
        (2, 24, 24),
        (1, 8, 8),
        *((n, 8, 16) for n in range(1, 12)),
        (1, 8, 8),
        (0, 8, 8),
    ]
    for n, h, w in sizes:
        x = image(rng, n, 1, h, w)
        poison(compiled)
        np.testing.assert_allclose(compiled(x).numpy(), eager(model, x).numpy(), atol=1e-6)
    assert len(compiled._programs) <= 8
    with pytest.raises(ValueError, match="multiple of 2"):
        compiled(image(rng, 1, 1, 7, 8))


def test_weights_are_prepared_once_for_all_shapes(rng):
    compiled = medkern.compile(models.UNet(filters=(4, 8)), image(rng, 1, 1, 8, 8))
    before = compiled.nbytes["weights"]
    compiled(image(rng, 2, 1, 16, 16))
    assert compiled.nbytes["weights"] == before > 0


def test_formats_and_kinds_of_inputs(rng):
    model = nn.Conv2d(3, 4, 3)
    x = image(rng, 2, 5, 5, 3).transpose(0, 3, 1, 2)
    compiled = medkern.compile(model, x)
    expected = eager(model, np.ascontiguousarray(x)).numpy()
    for given in (x, np.ascontiguousarray(x), medkern.tensor(x), x[::1, :, ::1]):
        np.testing.assert_array_equal(compiled(given).numpy(), expected)
    x.flags.writeable = False
    np.testing.assert_array_equal(compiled(x).numpy(), expected)


def test_the_same_bits_at_any_number_of_threads(rng):
    model = Residual()
    x = image(rng, 2, 3, 64, 64)
    compiled = medkern.compile(model, x)
    before = medkern.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 4):
            medkern.set_num_threads(threads)
            results.append(compiled(x).numpy())
    finally:
        medkern.set_num_threads(before)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_calls_from_several_threads(rng):
    model = models.UNet(filters=(4, 8))
    inputs = [image(rng, 1, 1, 16, 16) for _ in range(4)]
    compiled = medkern.compile(model, inputs[0])
    expected = [compiled(x).numpy() for x in inputs]
    faults = []

    def work(number):
        for _ in range(20):
            if not np.array_equal(compiled(inputs[number]).numpy(), expected[number]):
                faults.append(number)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not faults


def test_later_changes_of_the_weights_have_no_effect(rng):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2, affine=True), nn.Flatten(), nn.Linear(8, 3)
    )
    x = image(rng, 1, 1, 4, 4)
    compiled = medkern.compile(model, x)
    before = compiled(x).numpy()
    for parameter in model.parameters():
        parameter.copy_(np.zeros(parameter.shape))
    np.testing.assert_array_equal(compiled(x).numpy(), before)


def test_the_model_is_left_as_it_was(rng):
    model = models.UNet(filters=(4, 8), norm="batch", dropout=0.5)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    state = medkern.random.get_state()
    medkern.compile(model, image(rng, 1, 1, 8, 8))
    assert all(module.training for module in model.modules())
    assert medkern.random.get_state() == state
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert model.head.weight.requires_grad


def test_double_precision(rng):
    model = models.UNet(filters=(4, 8), norm="batch").to("float64")
    draw_statistics(model, rng)
    agree(model, rng.standard_normal((1, 1, 8, 8)), tolerance=1e-13)


def test_nothing_is_computed_while_following():
    huge = nn.Conv2d(1, 4, 3, padding=1)
    skeleton = medkern.inference.graph.Skeleton(huge)
    graph = skeleton.follow([(1, 1, 1 << 20, 1 << 20)], [np.dtype("float32")])
    assert graph.outputs[0].shape == (1, 4, 1 << 20, 1 << 20)


def test_a_predictor_follows_the_weights(rng):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    predict = medkern.inference.Predictor(model)
    x = image(rng, 2, 1, 5, 5)
    before = predict(x).numpy()
    compiled = predict._compiled
    np.testing.assert_array_equal(predict(medkern.tensor(x)).numpy(), before)
    assert predict._compiled is compiled
    draw_statistics(model, rng)
    np.testing.assert_allclose(predict(x).numpy(), eager(model, x).numpy(), atol=1e-6)
    optimizer = medkern.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    model(medkern.tensor(x)).sum().backward()
    optimizer.step()
    after = predict(x).numpy()
    np.testing.assert_allclose(after, eager(model, x).numpy(), atol=1e-6)
    assert not np.array_equal(after, before)
    model.to("float64")
    assert predict(x.astype("float64")).dtype == np.float64


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * float(x.sum()),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: medkern.tensor(x.numpy() + 1),
        lambda x: functional.relu(medkern.tensor(np.asarray(x))),
        lambda x: x * x[0, 0].item(),
    ],
)
def test_reading_values_is_refused(function):
    with pytest.raises(TraceError, match="reads the values of a tensor"):
        medkern.compile(Apply(function), np.zeros((2, 2), np.float32))


def test_other_errors():
    model = nn.Linear(2, 3)
    with pytest.raises(TypeError, match="model must be a Module, got function"):
        medkern.compile(lambda x: x, np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="input 0 must be a tensor or an array, got list"):
        medkern.compile(model, [1.0, 2.0])
    with pytest.raises(TraceError, match="must return tensors, or tuples, lists or dicts of them, got int"):
        medkern.compile(Apply(lambda x: (x, 3)), np.zeros(2, np.float32))
    with pytest.raises(TraceError, match="without an operation"):
        medkern.compile(
            Apply(lambda x: medkern.Tensor(medkern.kernels.exp(x.array))), np.zeros(2, np.float32)
        )
    with pytest.raises(ValueError, match="linear"):
        medkern.compile(model, np.zeros((2, 5), np.float32))
    compiled = medkern.compile(model, np.zeros((1, 2), np.float32))
    with pytest.raises(TypeError, match="expects 1 inputs, got 2"):
        compiled(1, 2)
    with pytest.raises(TypeError, match="input 0 must be float32 as the example was, got float64"):
        compiled(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="linear"):
        compiled(np.zeros((1, 4), np.float32))


def test_another_way_for_another_shape_is_refused():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.a(x) if len(x) < 3 else self.b(x)

    compiled = medkern.compile(Model(), np.zeros((1, 2), np.float32))
    with pytest.raises(TraceError, match=r"uses b\.weight in another way"):
        compiled(np.zeros((4, 2), np.float32))
    compiled(np.zeros((2, 2), np.float32))


def test_an_outline_has_no_values():
    before = medkern._C.outlining(True)
    try:
        outline = medkern._C.empty((2, 3), "float32")
        assert outline.is_outline and outline.shape == (2, 3)
        assert medkern._C.unary(medkern._C.UnaryOp.relu, outline, 0, 0, None).is_outline
    finally:
        medkern._C.outlining(before)
    for use in (np.asarray, np.from_dlpack, medkern.kernels.relu):
        with pytest.raises((ValueError, BufferError), match=r"outline|buffer"):
            use(outline)
