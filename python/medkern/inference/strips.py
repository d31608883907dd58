"""Chains of steps on large images, computed strip by strip.

Where each step reads only the one before, a strip of rows of the last result needs a few more rows of those
before it. One strip after the other, the results between stay in the caches and take the memory of one
strip. Rows at the borders are computed twice. Rows are positions along the first spatial axis: slices
in 3-D.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from medkern import _C
from medkern.autograd import Function
from medkern.functional.conv import Conv, ConvTranspose
from medkern.functional.copy import Concat, GetItem
from medkern.functional.pointwise import Unary
from medkern.functional.softmax import Softmax
from medkern.inference.arena import extent
from medkern.inference.graph import Graph, Step, Value, outline
from medkern.inference.weights import run

# Strips are worth it from this size on of the results between, for one item, and should be about this large.
_LEAST_BYTES = 16 << 20
_LEAST_SHARE = 48  # times the weights, which are kept thrice: with padding above, below and neither
_STRIP_BYTES = 8 << 20
_LEAST_ROWS = 8  # fewer would have too many computed twice
_ROWS = 8  # and a multiple of this many

Rows = tuple[int, int]


class Strips(Function):
    """A chain of steps; option "chain" holds them."""


def find_strips(graph: Graph) -> None:
    """Makes each chain that is worth it one step."""
    uses = graph.uses()
    readers: dict[Value, list[Step]] = {}
    for step in graph.steps:
        for value in step.reads():
            readers.setdefault(value, []).append(step)
    taken: set[int] = set()
    merged: dict[int, Step] = {}  # by id of the last step
    for first in graph.steps:
        chain = [first] if id(first) not in taken and _can_begin(first) else []
        while chain:
            value = chain[-1].outputs[0]
            following = readers.get(value, [])
            if uses[value] != 1 or not following or id(following[0]) in taken:
                break
            if not _can_follow(following[0], value):
                break
            chain.append(following[0])
        if len(chain) > 1 and _rows_of(chain) is not None:
            taken.update(id(step) for step in chain)
            between = {step.outputs[0] for step in chain[:-1]}
            reads = dict.fromkeys(
                v for step in chain for v in step.reads() if not v.is_constant and v not in between
            )
            merged[id(chain[-1])] = Step(Strips, list(reads), {"chain": chain}, chain[-1].outputs)
    graph.steps = [
        merged.get(id(step), step) for step in graph.steps if id(step) in merged or id(step) not in taken
    ]


def _can_begin(step: Step) -> bool:
    if step.function is ConvTranspose:
        return _is_upsampling(step) and step.has_constant_weights
    return step.function is Conv and step.has_constant_weights and len(step.outputs[0].shape) > 3


def _can_follow(step: Step, value: Value) -> bool:
    rank = len(value.shape)
    if step.function is Concat:
        known = any(x is None or x.is_constant for x in step.inputs)
        return step.options["dim"] % rank == 1 and step.inputs.count(value) == 1 and not known
    if step.function is Softmax:
        return bool(step.options["dim"] % rank == 1)
    if step.function is Conv:
        return step.inputs[0] is value and step.has_constant_weights
    return step.function is Unary


def _is_upsampling(step: Step) -> bool:
    """Whether the windows of a transposed convolution lie side by side along the rows."""
    weight = step.inputs[1]
    assert weight is not None
    kernel, o = weight.shape[2], step.options
    stride, dilation, extra = (_first(o[name]) for name in ("stride", "dilation", "output_padding"))
    return (
        stride == kernel and (dilation, extra, _padding(step)[0]) == (1, 0, (0, 0)) and len(weight.shape) > 3
    )


def _first(sizes: Any) -> int:
    return int(sizes if isinstance(sizes, int) else sizes[0])


def _padding(step: Step) -> list[tuple[int, int]]:
    """(before, after) for each axis."""
    weight, o = step.inputs[1], step.options
    assert weight is not None
    return _C.conv_padding(weight.shape, o["stride"], o["padding"], o["dilation"])


def _rows_of(chain: list[Step]) -> int | None:
    """Rows of a strip of the result, or None if strips aren't worth it."""
    result = chain[-1].outputs[0]
    sizes = [
        extent(value.outline) // max(value.shape[0], 1)
        for value in (step.outputs[0] for step in chain[:-1])
        if value.outline.is_channels_last or value.outline.is_contiguous
    ]
    weights = sum(extent(x.outline) for step in chain for x in step.reads() if x.is_constant)
    least = max(_LEAST_BYTES, _LEAST_SHARE * weights)
    if len(sizes) < len(chain) - 1 or sum(sizes) < least or min(result.shape) == 0:
        return None
    height = result.shape[2]
    rows = max(int(_STRIP_BYTES / (max(sizes) / height)), _LEAST_ROWS)
    rows = -(-rows // _ROWS) * _ROWS
    return rows if 2 * rows <= height else None


@dataclass
class Part:
    """Rows of a value that a strip computes or reads.

    Attributes:
        value: the part itself.
        view: makes it of `source`.
        source: the whole value, or a buffer for a strip.
    """

    value: Value
    view: Step
    source: Value


def _part(source: Value, key: tuple[slice, ...]) -> Part:
    step = Step(GetItem, [source], {"key": key}, [])
    value = Value(run(step, lambda x: x.outline)[0])
    step.outputs.append(value)
    return Part(value, step, source)


def cut(
    step: Step, buffer: Callable[[Value, float, float], None], view: Callable[[Part], None]
) -> Iterator[tuple[Step | None, Value, Value]]:
    """The strips of a chain, as steps on parts of values.

    Args:
        step: a step of `Strips`.
        buffer: is told of each buffer for a strip, and between which shares of a strip's time it is needed.
        view: is told of each part.

    Yields:
        (step, _, _), or (None, from, to) for a copy.
    """
    chain: list[Step] = step.options["chain"]
    rows = _rows_of(chain)
    assert rows is not None
    result = chain[-1].outputs[0]
    items, height = result.shape[0], result.shape[2]
    strips = [_ranges(chain, (begin, min(begin + rows, height))) for begin in range(0, height, rows)]
    buffers: dict[Value, Value] = {}
    for number, value in enumerate(each.outputs[0] for each in chain[:-1]):
        if _joins(chain, number):
            continue
        most = max(end - begin for begin, end in (ranges[value] for ranges in strips))
        shape = (1, value.shape[1], most, *value.shape[3:])
        buffers[value] = Value(outline(shape, value.outline.dtype, channels_last=True))
        first = number - 1 if number > 0 and _joins(chain, number - 1) else number
        buffer(buffers[value], first / len(chain), (number + 1) / len(chain))
    for n in range(items):
        for ranges in strips:

            def part(value: Value, channels: slice, wanted: Rows, n: int = n, ranges: Any = ranges) -> Value:
                """Rows `wanted` of a value."""
                if value in buffers:
                    start, first, source = slice(None), ranges[value][0], buffers[value]
                else:
                    start, first, source = slice(n, n + 1), 0, value
                made = _part(source, (start, channels, slice(wanted[0] - first, wanted[1] - first)))
                view(made)
                return made.value

            yield from _strip(chain, ranges, part)


def _joins(chain: list[Step], number: int) -> bool:
    """Whether a step computes its part of the concatenation that follows where it is to be."""
    return chain[number].function in (Conv, ConvTranspose) and chain[number + 1].function is Concat


def _strip(
    chain: list[Step], ranges: dict[Value, Rows], part: Callable[[Value, slice, Rows], Value]
) -> Iterator[tuple[Step | None, Value, Value]]:
    every = slice(None)
    into: dict[Value, Value] = {}  # where a value is computed that a concatenation takes
    for number, step in enumerate(chain):
        y = step.outputs[0]
        if step.function is Concat:
            begin = 0
            for x in step.inputs:
                assert x is not None
                channels = slice(begin, begin + x.shape[1])
                begin = channels.stop
                if x not in into:
                    rows = ranges[y]
                    yield None, part(x, every, rows), part(y, channels, rows)
            continue
        if number + 1 < len(chain) and _joins(chain, number):
            following = chain[number + 1]
            begin = sum(x.shape[1] for x in following.inputs[: following.inputs.index(y)] if x is not None)
            result = part(following.outputs[0], slice(begin, begin + y.shape[1]), ranges[y])
            into[y] = result
        else:
            result = part(y, every, ranges[y])
        x = step.inputs[0]
        assert x is not None
        options = dict(step.options)
        rows = _read(step, ranges[y])
        if step.function is Conv:
            there = _clipped(rows, x.shape[2])
            padding = [(there[0] - rows[0], rows[1] - there[1]), *_padding(step)[1:]]
            options["padding"], rows = tuple(padding), there
        made = Step(step.function, [part(x, every, rows), *step.inputs[1:]], options, [result])
        made.norms, made.activation = step.norms, step.activation
        yield made, result, result


def _read(step: Step, rows: Rows) -> Rows:
    """Rows of x that give rows of the result; maybe beyond it."""
    begin, end = rows
    if step.function is ConvTranspose:
        stride = _first(step.options["stride"])
        return begin // stride, -(-end // stride)
    if step.function is not Conv:
        return rows
    weight = step.inputs[1]
    assert weight is not None
    stride, dilation = _first(step.options["stride"]), _first(step.options["dilation"])
    before = _padding(step)[0][0]
    return begin * stride - before, (end - 1) * stride - before + dilation * (weight.shape[2] - 1) + 1


def _clipped(rows: Rows, height: int) -> Rows:
    """The rows inside the image; at least one, even where only padding is read."""
    begin = min(max(rows[0], 0), height - 1)
    return begin, max(min(rows[1], height), begin + 1)


def _ranges(chain: list[Step], rows: Rows) -> dict[Value, Rows]:
    """Rows of each result of a chain that give rows of the last."""
    ranges = {chain[-1].outputs[0]: rows}
    for number in range(len(chain) - 1, 0, -1):
        step, before = chain[number], chain[number - 1]
        y, x = step.outputs[0], before.outputs[0]
        begin, end = _clipped(_read(step, ranges[y]), x.shape[2])
        if before.function is ConvTranspose:  # whole windows
            stride = _first(before.options["stride"])
            begin, end = begin // stride * stride, -(-end // stride) * stride
            if step.function is Concat:
                ranges[y] = begin, end
        ranges[x] = begin, end
    return ranges
