"""From steps to calls of kernels that write into given memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medkern import _C
from medkern.autograd import Cast, Function
from medkern.functional import _broadcast, conv, copy, gemm, norm, pointwise, pool, recurrent, reduce, resize
from medkern.functional.embedding import Embedding
from medkern.functional.recurrent import Recurrent, RecurrentCell
from medkern.functional.softmax import LogSoftmax, Softmax
from medkern.inference.graph import Graph, Step
from medkern.inference.weights import Weights
from medkern.kernels._activation import ACTIVATIONS

Call = tuple[Callable[..., Any], list[Any]]

# Steps whose result is a part of the memory of x, or all of it.
VIEWS = {_broadcast.Expand, copy.Permute, copy.GetItem, copy.Reshape}

# Steps whose result may lie where an input of the same layout lies that nobody needs any more.
IN_PLACE = {pointwise.Unary, pointwise.Add, pointwise.Sub, pointwise.Mul, pointwise.Div, pointwise.Extremum}

# Steps whose kernels take some of the channels of a channels-last array for their result, or for x.
WRITES_SLICES = {conv.Conv, conv.ConvTranspose, *IN_PLACE}
READS_SLICES = {pool.MaxPool, pool.AvgPool, copy.Concat, *IN_PLACE}


def lower(step: Step, graph: Graph, weights: Weights, wanted: set[Any]) -> Call | None:
    """The call that computes a step, with values in place of arrays.

    Args:
        step: the step.
        graph: what it is a part of.
        weights: keeps the weights it prepares.
        wanted: the values that somebody reads.

    Returns:
        A function and its arguments; values among them, and in lists among them, stand for their arrays. None
        if there is no kernel that takes memory for every wanted result.
    """
    if step.function is Recurrent:
        return _recurrent(step, graph, weights, wanted)
    if step.function is RecurrentCell:
        return _recurrent_cell(step, graph, weights, wanted)
    if step.function is pool.MaxPool:
        return _max_pool(step, wanted)
    if any(value in wanted for value in step.outputs[1:]):
        return None
    if step.function in _PREPARED:
        return _PREPARED[step.function](step, graph, weights)
    if step.function is pointwise.Add and step.activation == "relu":
        return _C.binary, [_C.BinaryOp.add_relu, *step.inputs, step.outputs[0]]
    kernel = _KERNELS.get(step.function)
    return None if kernel is None else kernel(step.inputs, step.options, step.outputs[0])


Kernel = Callable[[list[Any], dict[str, Any], Any], Call | None]


def _batch_norm(i: list[Any], o: dict[str, Any], y: Any) -> Call | None:
    if o["training"]:
        return None
    x, weight, bias = i
    mean, var = o["running_mean"], o["running_var"]
    activation = ACTIVATIONS[o["activation"]]
    return _C.batch_norm, [x, mean, var, weight, bias, False, o["momentum"], o["eps"], activation, y]


def _matmul(i: list[Any], o: dict[str, Any], y: Any) -> Call:
    def run(a: _C.Array, b: _C.Array, out: _C.Array) -> None:
        _C.gemm(
            gemm._transposed(a) if o.get("transpose_a") else a,
            gemm._transposed(b) if o.get("transpose_b") else b,
            None,
            0,
            out,
        )

    return run, [*i, y]


def _window(o: dict[str, Any], *names: str) -> list[Any]:
    return [o[name] for name in names]


def _reduction(op: _C.ReduceOp) -> Kernel:
    return lambda i, o, y: (_C.reduce, [op, i[0], o["dim"], o["keepdim"], o.get("correction", 0.0), False, y])


def _binary(op: _C.BinaryOp) -> Kernel:
    return lambda i, o, y: (_C.binary, [op, *i, y])


_POOL = ("kernel_size", "stride", "padding")

# The kernel of each function and its arguments, from inputs, options and result.
_KERNELS: dict[type[Function], Kernel] = {
    pointwise.Unary: lambda i, o, y: (
        _C.unary,
        [getattr(_C.UnaryOp, o["op"]), i[0], o.get("a", 0.0), o.get("b", 0.0), y],
    ),
    pointwise.Add: _binary(_C.BinaryOp.add),
    pointwise.Sub: _binary(_C.BinaryOp.sub),
    pointwise.Mul: _binary(_C.BinaryOp.mul),
    pointwise.Div: _binary(_C.BinaryOp.div),
    pointwise.Extremum: lambda i, o, y: (_C.binary, [getattr(_C.BinaryOp, o["op"]), *i, y]),
    pointwise.Compare: lambda i, o, y: (_C.compare, [getattr(_C.CompareOp, o["op"]), *i, y]),
    pointwise.Where: lambda i, o, y: (_C.where, [*i, y]),
    pool.AvgPool: lambda i, o, y: (
        _C.avg_pool,
        [i[0], len(y.shape) - 2, *_window(o, *_POOL, "ceil_mode", "count_include_pad"), y],
    ),
    pool.AdaptiveAvgPool: lambda i, o, y: (
        _C.adaptive_avg_pool,
        [i[0], len(y.shape) - 2, o["output_size"], y],
    ),
    pool.AdaptiveMaxPool: lambda i, o, y: (
        _C.adaptive_max_pool,
        [i[0], len(y.shape) - 2, o["output_size"], False, y],
    ),
    pool.MaxUnpool: lambda i, o, y: (
        _C.max_unpool,
        [*i, len(y.shape) - 2, *_window(o, *_POOL, "output_size"), y],
    ),
    resize.Interpolate: lambda i, o, y: (
        _C.interpolate,
        [i[0], *_window(o, "size", "scale_factor", "mode", "align_corners"), y],
    ),
    copy.Concat: lambda i, o, y: (_C.concat, [list(i), o["dim"], y]),
    copy.Pad: lambda i, o, y: (_C.pad, [i[0], list(o["padding"]), o["mode"], o["value"], y]),
    Cast: lambda i, o, y: (_C.copy, [i[0], None, False, y]),
    gemm.MatMul: _matmul,
    norm.BatchNorm: _batch_norm,
    norm.InstanceNorm: lambda i, o, y: (_C.instance_norm, [*i, o["eps"], ACTIVATIONS[o["activation"]], y]),
    norm.GroupNorm: lambda i, o, y: (
        _C.group_norm,
        [i[0], o["num_groups"], i[1], i[2], o["eps"], ACTIVATIONS[o["activation"]], y],
    ),
    norm.LayerNorm: lambda i, o, y: (_C.layer_norm, [i[0], o["normalized_shape"], i[1], i[2], o["eps"], y]),
    Softmax: lambda i, o, y: (_C.softmax, [i[0], o["dim"], False, y]),
    LogSoftmax: lambda i, o, y: (_C.softmax, [i[0], o["dim"], True, y]),
    _broadcast.Sum: _reduction(_C.ReduceOp.sum),
    reduce.Mean: _reduction(_C.ReduceOp.mean),
    reduce.Var: _reduction(_C.ReduceOp.var),
    reduce.Extreme: lambda i, o, y: (
        _C.reduce,
        [getattr(_C.ReduceOp, o["op"]), i[0], o["dim"], o["keepdim"], 0.0, False, y],
    ),
    Embedding: lambda i, o, y: (_C.embedding, [*i, o["padding_idx"], y]),
}


_COMPACT = 2  # of mk_algorithm: large weights are not kept transformed, four times their size


def _key(step: Step, without: str | None = None) -> tuple[Any, ...]:
    """What a prepared weight is made of, one option perhaps left out."""
    window = tuple(repr(value) for name, value in step.options.items() if name != without)
    sources = [x.key if x is not None else None for x in step.inputs[1:]]
    norms = [(norm.options["eps"], *(x.key for x in norm.reads() if x.is_constant)) for norm in step.norms]
    x = step.inputs[0]
    assert x is not None
    return (step.function, str(x.outline.dtype), window, *sources, *norms, step.activation)


def _conv(step: Step, graph: Graph, weights: Weights) -> Call | None:
    if not step.has_constant_weights:
        return None
    o = step.options

    def make() -> _C.ConvPlan:
        weight, bias = weights.folded(graph, step)
        return _C.ConvPlan(
            weight,
            bias,
            o["rank"],
            o["stride"],
            o["padding"],
            o["dilation"],
            o["groups"],
            step.function is conv.ConvTranspose,
            o.get("output_padding", 0),
            ACTIVATIONS[step.activation],
            _COMPACT,
        )

    stride = o["stride"]
    if step.function is conv.Conv and set([stride] if isinstance(stride, int) else stride) == {1}:
        # Strips at the borders of an image have another padding than those between, and the same weights.
        shared = weights.prepared(_key(step, without="padding"), make)
        plan = weights.prepared(_key(step), lambda: shared.padded(o["padding"]))
    else:
        plan = weights.prepared(_key(step), make)
    return plan.run, [step.inputs[0], False, step.outputs[0]]


def _linear(step: Step, graph: Graph, weights: Weights) -> Call | None:
    if not step.has_constant_weights:
        return None

    def make() -> _C.LinearPlan:
        return _C.LinearPlan(*weights.folded(graph, step), ACTIVATIONS[step.activation])

    plan = weights.prepared(_key(step), make)
    return plan.run, [step.inputs[0], step.outputs[0]]


def _max_pool(step: Step, wanted: set[Any]) -> Call:
    (x,), o, (y, indices) = step.inputs, step.options, step.outputs
    kind, *given = (o["index_dtype"], y, indices) if indices in wanted else (None, y)
    return _C.max_pool, [x, len(y.shape) - 2, *_window(o, *_POOL, "dilation", "ceil_mode"), kind, *given]


def _recurrent(step: Step, graph: Graph, weights: Weights, wanted: set[Any]) -> Call | None:
    x, h0, c0, *parameters = step.inputs
    if not all(p is None or p.is_constant for p in parameters):
        return None
    o = step.options
    directions, exchanged = o["directions"], not o["batch_first"]

    def make() -> tuple[_C.RecurrentPlan, ...]:
        arrays = [None if p is None else weights.computed(graph, p) for p in parameters]
        layers = len(arrays) // (directions * recurrent._PARAMETERS)
        each = (recurrent._by_direction(arrays, layer, directions) for layer in range(layers))
        return tuple(_C.RecurrentPlan(o["cell"], False, part) for part in each)

    key = (step.function, o["cell"], directions, *(None if p is None else p.key for p in parameters))
    plans = weights.prepared(key, make)

    def run(y: _C.Array, h0: Any, c0: Any, lengths: Any, outs: list[Any]) -> None:
        out, *states = outs
        if exchanged:
            y, out = recurrent._exchanged(y), None if out is None else recurrent._exchanged(out)
        ends = []
        for layer, plan in enumerate(plans):
            part = slice(layer * directions, (layer + 1) * directions)
            starts = recurrent._rows(h0, part), recurrent._rows(c0, part)
            y, *end, _ = plan.run(y, *starts, lengths, out if plan is plans[-1] else None)
            ends.append(end)
        for state, parts in zip(states, zip(*ends, strict=True), strict=False):
            if state is not None:
                _C.copy(recurrent._joined(list(parts)), None, False, state)

    results = [value if value in wanted else None for value in step.outputs]
    return run, [x, h0, c0, o["lengths"], results]


def _recurrent_cell(step: Step, graph: Graph, weights: Weights, wanted: set[Any]) -> Call | None:
    x, h, c, *parameters = step.inputs
    if not all(p is None or p.is_constant for p in parameters):
        return None
    cell = step.options["cell"]

    def make() -> _C.RecurrentPlan:
        arrays = [None if p is None else weights.computed(graph, p) for p in parameters]
        return _C.RecurrentPlan(cell, True, [tuple(arrays)])

    plan = weights.prepared((step.function, cell, *(None if p is None else p.key for p in parameters)), make)

    def run(x: _C.Array, h: Any, c: Any, outs: list[Any]) -> None:
        _, _, c_next, _ = plan.run(x, h, c, None, outs[0])
        if outs[-1] is not None and len(outs) == 2:
            _C.copy(c_next, None, False, outs[-1])

    return run, [x, h, c, [value if value in wanted else None for value in step.outputs]]


_PREPARED = {conv.Conv: _conv, conv.ConvTranspose: _conv, gemm.Linear: _linear}
