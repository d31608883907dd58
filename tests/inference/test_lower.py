"""Every operation of `functional` as a compiled model."""

import numpy as np
import pytest

import medkern
from compiled import Apply, agree, eager, image
from medkern import functional
from medkern.autograd import widened
from medkern.kernels._precision import mixed_precision

w = {}  # by rank, of shape (4, 3, 3, ...)


@pytest.fixture
def weights():
    """Makes them on the default device."""
    for rank in (1, 2, 3):
        values = np.random.default_rng(rank).standard_normal((4, 3, *(3,) * rank))
        w[rank] = medkern.tensor(values.astype("f4"))


def columns():
    """(4, 3)."""
    return w[1][:, :, 0]


def cases():
    """A model per operation of `functional`: name, inputs' shapes, function."""
    f, v = functional, columns
    sizes = {1: (9,), 2: (9, 10), 3: (5, 6, 7)}
    for op in (f.abs, f.elu, f.erf, f.exp, f.expm1, f.gelu, f.leaky_relu, f.neg, f.reciprocal):
        yield op.__name__, [(2, 3, 4)], op
    for op in (f.relu, f.sigmoid, f.silu, f.softplus, f.square, f.tanh):
        yield op.__name__, [(2, 3, 4)], op
    for op in (f.log, f.log1p, f.sqrt):
        yield op.__name__, [(2, 3, 4)], lambda x, op=op: op(f.abs(x))
    for op in (f.add, f.sub, f.mul, f.div, f.maximum, f.minimum):
        yield op.__name__, [(2, 3, 4), (3, 1)], lambda x, y, op=op: op(op(2.0, x), y)
    yield "clamp", [(5,)], lambda x: f.clamp(x, -0.5, 0.5)
    yield "pow", [(5,)], lambda x: f.pow(f.abs(x), 1.5)
    yield "where", [(4, 5), (5,)], lambda x, y: f.where(x > y, x, 0.0)
    yield "compare", [(4, 5)], lambda x: (x >= 0.5, x == 0, x != 0, x < 0.1, x <= -0.1)
    for rank, size in sizes.items():
        x = (2, 3, *size)
        for kind in ("max_pool", "avg_pool"):
            op = getattr(f, f"{kind}{rank}d")
            yield f"{kind}{rank}d", [x], lambda x, op=op: op(x, 3, 2, 1, ceil_mode=True)
        for kind in ("adaptive_max_pool", "adaptive_avg_pool"):
            op = getattr(f, f"{kind}{rank}d")
            yield f"{kind}{rank}d", [x], lambda x, op=op: op(x, 2)
        pool, unpool = getattr(f, f"max_pool{rank}d"), getattr(f, f"max_unpool{rank}d")
        yield (
            f"max_unpool{rank}d",
            [(2, 3, *(4,) * rank)],
            lambda x, p=pool, u=unpool: u(*p(x, 2, return_indices=True), 2),
        )
        op = getattr(f, f"conv{rank}d")
        yield f"conv{rank}d", [x], lambda x, op=op, r=rank: op(x, w[r], padding="same")
        op = getattr(f, f"conv_transpose{rank}d")
        yield (
            f"conv_transpose{rank}d",
            [(2, 4, *size)],
            lambda x, op=op, r=rank: op(x, w[r], stride=2, output_padding=1),
        )
        weights = (4, 3, *(3,) * rank)
        yield f"conv{rank}d", [x, weights], getattr(f, f"conv{rank}d")
    yield "interpolate", [(1, 2, 5, 6)], lambda x: f.interpolate(x, scale_factor=1.7, mode="bilinear")
    yield "grid_sample", [(1, 2, 5, 6), (1, 3, 4, 2)], lambda x, g: f.grid_sample(f.relu(x), g)
    yield "warp", [(1, 2, 5, 6)], lambda x: f.warp(x, f.tanh(x))
    yield "concat", [(2, 3, 4), (2, 1, 4)], lambda x, y: f.concat([x, y, x], 1)
    yield "cat", [(2, 3)], lambda x: f.cat([f.relu(x), x])
    yield "stack", [(2, 3)], lambda x: f.stack([f.relu(x), x], 1)
    yield "pad", [(2, 3, 5, 6)], lambda x: f.pad(x, (1, 2, 0, 1), "reflect")
    yield "to", [(2, 3)], lambda x: f.to(f.to(x, "float64"), "int64")
    yield "reshape", [(2, 3, 4, 4)], lambda x: f.reshape(f.conv2d(x, w[2]), (4, -1))
    yield "flatten", [(2, 3, 4)], lambda x: f.flatten(x, 1)
    yield "contiguous", [(2, 3, 4)], lambda x: f.contiguous(f.permute(x, (2, 0, 1)))
    yield "permute", [(2, 3, 4)], lambda x: f.permute(f.relu(x), (2, 0, 1)) + 1
    yield "transpose", [(2, 3)], lambda x: f.transpose(x, 0, 1)
    yield "squeeze", [(2, 1, 3)], lambda x: f.squeeze(x)
    yield "unsqueeze", [(2, 3)], lambda x: f.unsqueeze(x, 1)
    yield "getitem", [(4, 5, 6)], lambda x: f.getitem(f.exp(x), (slice(1, 3), -1, None, slice(0, 6, 2)))
    yield "expand", [(2, 1)], lambda x: f.expand(x, (3, 2, 4))
    yield "matmul", [(2, 3), (3, 4)], lambda x, y: f.matmul(x, y) @ f.transpose(y, 0, 1)
    yield "linear", [(2, 5, 3)], lambda x: f.linear(x, w[1][:, :, 0], w[1][:, 0, 0])
    yield "batch_norm", [(4, 3, 5)], lambda x: f.batch_norm(x, None, None, training=True)
    yield "batch_norm", [(4, 3, 5)], lambda x: f.batch_norm(x, w[1][0, :, 0], f.abs(w[1][1, :, 0]))
    yield "instance_norm", [(4, 3, 5)], lambda x: f.instance_norm(x, w[1][0, :, 0])
    yield "group_norm", [(4, 4, 5)], lambda x: f.group_norm(x, 2, None, w[1][:, 0, 0])
    yield "layer_norm", [(4, 3)], lambda x: f.layer_norm(x, (3,), w[1][0, :, 0], w[1][1, :, 0])
    for op in (f.sum, f.mean, f.var):
        yield op.__name__, [(3, 4, 5)], lambda x, op=op: op(x, (0, 2), True)
    for op in (f.max, f.min):
        yield op.__name__, [(3, 4, 5)], lambda x, op=op: (*op(x, 1, return_indices=True), op(x))
    for op in (f.softmax, f.log_softmax):
        yield op.__name__, [(2, 3, 4, 5)], lambda x, op=op: op(x, 1)
    yield "cross_entropy", [(4, 3)], lambda x: f.cross_entropy(x, np.array([0, 1, 2, 0]))
    yield "dropout", [(4, 3)], lambda x: f.dropout(x, 0.5, training=False) * 2
    yield "embedding", [(3, 2)], lambda x: f.embedding(f.to(f.clamp(x, 0, 3), "int64"), w[1][:, 0])
    yield "lstm_cell", [(2, 3)], lambda x: f.lstm_cell(x, None, v(), f.reshape(w[1][:, 0, 0], (4, 1)))
    yield "gru_cell", [(2, 3)], lambda x: f.gru_cell(x, None, v()[:3], v()[:3, :1])
    yield "rnn_cell", [(2, 3)], lambda x: f.rnn_cell(x, None, v()[:3], v()[:3, :3])
    yield "lstm", [(5, 2, 3)], lambda x: f.lstm(x, [(v(), v()[:, :1])])
    yield "gru", [(5, 2, 3)], lambda x: f.gru(x, [(v()[:3], v()[:3, :1])])
    yield "rnn", [(5, 2, 3)], lambda x: f.rnn(x, [(v()[:3], v()[:3])])


CASES = list(cases())


def test_every_operation_has_a_case():
    assert set(functional.__all__) <= {name for name, _, _ in CASES}


@pytest.mark.parametrize("name, shapes, function", CASES, ids=[case[0] for case in CASES])
def test_operation(rng, weights, name, shapes, function):
    agree(Apply(function), *(image(rng, *shape) for shape in shapes))


@pytest.mark.parametrize("name, shapes, function", CASES, ids=[case[0] for case in CASES])
def test_operation_in_bfloat16(rng, weights, name, shapes, function):
    """As by itself in that precision, which the CPU ignores; results are float32."""
    model = Apply(lambda *inputs: function(*(narrowed(x) for x in inputs)))
    inputs = [image(rng, *shape) for shape in shapes]
    with mixed_precision("bf16"):
        expected = eager(model, *inputs)
    compiled = medkern.compile(model, tuple(inputs), precision="bf16")
    for _ in range(2):
        found = compiled(*inputs)
        for a, b in zip(tensors(found), tensors(expected), strict=True):
            assert not a.is_bfloat16
            np.testing.assert_array_equal(a.numpy(), widened(b).numpy())


def narrowed(x):
    return functional.to(x, "bfloat16") if x.is_cuda else x


def tensors(result):
    if isinstance(result, medkern.Tensor):
        return [result]
    return [x for part in result if part is not None for x in tensors(part)]
