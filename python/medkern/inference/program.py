"""A graph bound to memory: a program of native calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from medkern import _C
from medkern.functional.copy import Concat, GetItem, Reshape
from medkern.inference.arena import Arena, Buffer, extent, place
from medkern.inference.graph import Graph, Step, Value, outline
from medkern.inference.lower import IN_PLACE, READS_SLICES, VIEWS, WRITES_SLICES, Call, lower
from medkern.inference.strips import Part, Strips, cut
from medkern.inference.weights import Weights, run

_INSTANT = 1e-3  # between the end of a step and the next, in steps


class _Slot:
    """Stands for an array that comes with each call: first the inputs, then memory for the results."""

    def __init__(self, number: int):
        self.number = number


class _Group:
    """Values that share memory.

    Attributes:
        values: the first has the whole memory.
        lifetime: its size, the steps between which it is needed and where it lies in the arena.
        slot: the array that comes with each call, where it doesn't lie in the arena.
        plain: whether all its values have the layout of the first.
    """

    def __init__(self, root: Value, time: float, slot: _Slot | None = None):
        self.values = [root]
        self.lifetime = Buffer(extent(root.outline), time, time)
        self.slot = slot
        self.plain = True

    def read(self, time: float) -> None:
        """Notes that it is still needed at `time`."""
        self.lifetime.last = max(self.lifetime.last, time)


class Program:
    """What is done for inputs of one shape.

    Args:
        graph: the simplified graph.
        weights: keeps what is prepared of the weights.

    Attributes:
        arena_bytes: memory that the intermediate results need.
    """

    def __init__(self, graph: Graph, weights: Weights):
        self._graph = graph
        self._weights = weights
        self._groups: dict[Value, _Group] = {}
        # Where a value that shares memory comes from: by a step that makes a view, or, with None, all of it.
        self._sources: dict[Value, tuple[Step | None, Value]] = {}
        self._calls: list[Call] = []
        self._fresh: list[tuple[tuple[int, ...], Any, bool]] = []  # shape, type, channels-last of each result

        wanted = set(graph.uses())
        self._take_inputs()
        for time, step in enumerate(graph.steps):
            self._take(step, time, wanted)
        end = len(graph.steps)
        for value in graph.outputs:
            if value in self._groups:
                self._groups[value].read(end)
        for step in graph.steps:
            if step.function is Concat and step.options["dim"] % len(step.outputs[0].shape) == 1:
                self._join(step)
        for time, step in enumerate(graph.steps):
            if step.function in IN_PLACE:
                self._reuse(step, time)
        self._give_outputs()
        groups = {id(group): group for group in self._groups.values() if group.slot is None}
        self.arena_bytes = place([group.lifetime for group in groups.values()])
        self._arena: Arena | None = None
        self._way = _way()
        self._bound: _C.Program | None = None

    # Memory.

    def _own(self, value: Value, time: float) -> None:
        self._groups[value] = _Group(value, time)

    def _share(self, value: Value, step: Step | None, source: Value) -> None:
        group = self._groups[source]
        group.values.append(value)
        group.plain = group.plain and step is None
        self._groups[value] = group
        self._sources[value] = step, source

    def _take_inputs(self) -> None:
        """Inputs are read where they are, but for those that a view is made of."""
        viewed = {
            value
            for step in self._graph.steps
            if step.function in VIEWS or step.function is Strips
            for value in step.inputs
        }
        for number, value in enumerate(self._graph.inputs):
            if value in viewed:
                self._own(value, 0)
                self._calls.append((_C.copy, [_Slot(number), None, False, value]))
            else:
                self._groups[value] = _Group(value, 0, _Slot(number))

    def _take(self, step: Step, time: int, wanted: set[Value]) -> None:
        for value in step.reads():
            if not value.is_constant:
                self._groups[value].read(time)
        x = step.inputs[0] if step.inputs else None
        if step.function in VIEWS and x is not None:
            if step.function is Reshape and not x.outline.is_contiguous:
                whole = Value(outline(x.shape, x.outline.dtype))
                self._own(whole, time)
                self._calls.append((_C.copy, [x, None, False, whole]))
                step = Step(Reshape, [whole], step.options, step.outputs)
                x = whole
            self._share(step.outputs[0], step, x)
            return
        if step.function is Strips:
            self._take_strips(step, time)
            return
        outputs = [value for value in step.outputs if value in wanted]
        for value in outputs:
            self._own(value, time)
        self._calls.append(lower(step, self._graph, self._weights, wanted) or _by_forward(step, outputs))

    def _take_strips(self, step: Step, time: int) -> None:
        """The strips of a chain: what they read and write is there from the first to the last of them."""
        end = time + 1 - _INSTANT
        self._own(step.outputs[0], time)
        for value in (*step.reads(), *step.outputs):
            self._groups[value].read(end)

        def buffer(value: Value, first: float, last: float) -> None:
            self._own(value, time + first * (end - time))
            self._groups[value].read(time + last * (end - time))

        def view(part: Part) -> None:
            self._share(part.value, part.view, part.source)

        for piece, source, result in cut(step, buffer, view):
            if piece is None:
                self._calls.append((_C.copy, [source, None, False, result]))
            else:
                call = lower(piece, self._graph, self._weights, {result})
                assert call is not None, piece.function
                self._calls.append(call)

    def _reuse(self, step: Step, time: int) -> None:
        """Lets a result take the place of an input that nobody needs any more."""
        (output,) = step.outputs
        inside = self._groups[output]
        if inside.values[0] is not output:
            return  # it is a part of something larger
        for x in step.inputs:
            group = None if x is None else self._groups.get(x)
            if x is None or group is None or group.slot is not None or group.lifetime.last > time:
                continue
            others = [v for v in step.reads() if v is not x and self._groups.get(v) is group]
            if others or not output.has_layout_of(x):
                continue
            group.values += inside.values
            group.plain = group.plain and inside.plain
            group.read(inside.lifetime.last)
            for value in inside.values:
                self._groups[value] = group
            self._sources[output] = None, x
            return

    def _join(self, step: Step) -> None:
        """Has parts of a concatenation computed where they are to be; the others are copied there."""
        (whole,) = step.outputs
        if not any(x is not None and self._can_be_part(x, step) for x in step.inputs):
            return
        group = self._groups[whole]
        copies: list[Call] = []
        begin = 0
        for x in step.inputs:
            assert x is not None
            end = begin + x.shape[1]
            view = Step(GetItem, [whole], {"key": (slice(None), slice(begin, end))}, [x])
            begin = end
            if self._can_be_part(x, step):
                part, place = self._groups[x].lifetime, x
                group.lifetime.first = min(group.lifetime.first, part.first)
                group.read(part.last)
            else:
                place = Value(run(view, lambda value: value.outline)[0])
                copies.append((_C.copy, [x, None, False, place]))
            group.values.append(place)
            self._groups[place] = group
            self._sources[place] = view, whole
        group.plain = False
        number = next(i for i, (_, arguments) in enumerate(self._calls) if arguments[-1] is whole)
        self._calls[number : number + 1] = copies

    def _can_be_part(self, x: Value, concat: Step) -> bool:
        """Whether what writes x and reads it takes some channels of a channels-last array.

        And doesn't read and write parts of one array, whose memory is interleaved.
        """
        (whole,) = concat.outputs
        members = self._groups[whole].values
        group = self._groups.get(x)
        return (
            group is not None
            and group.slot is None
            and group.values == [x]
            and concat.inputs.count(x) == 1
            and x not in self._graph.outputs
            and whole.outline.keeps_channels_last
            and all(
                (step.function in WRITES_SLICES or x not in step.outputs)
                and (step.function in READS_SLICES or x not in step.reads())
                and (x not in step.outputs or not _meet(members, list(step.reads())))
                and (x not in step.reads() or whole in step.outputs or not _meet(members, step.outputs))
                for step in self._graph.steps
            )
        )

    def _give_outputs(self) -> None:
        """Results are written where they are to be, unless they share memory with something else."""
        given = len(self._graph.inputs)
        for value in self._graph.outputs:
            slot = _Slot(given + len(self._fresh))
            self._fresh.append((value.shape, value.outline.dtype, value.outline.keeps_channels_last))
            group = self._groups.get(value)
            dense = value.outline.is_contiguous or value.outline.is_channels_last
            if group is not None and group.slot is None and group.plain and dense:
                group.slot = slot
            else:
                self._calls.append((_C.copy, [value, None, False, slot]))

    # Running.

    @property
    def arrange(self) -> Callable[[Sequence[Any]], Any]:
        """Puts the results into the structure that the model returns."""
        return self._graph.arrange

    def unbind(self) -> None:
        """Lets go of the arena."""
        self._arena = self._bound = None

    def bind(self, arena: Arena) -> None:
        """Makes the calls with arrays in the arena in the place of values.

        They have scratch memory for as many threads as there are now, and a graph multiplies as is set now.
        """
        way = _way()
        if self._arena is arena and self._way == way:
            return
        self._arena, self._way, self._bound = arena, way, _C.Program()
        slots = [self._bound.slot(value.outline) for value in self._graph.inputs]
        slots += [self._bound.slot(outline(*fresh), True) for fresh in self._fresh]
        arrays: dict[Value, Any] = {}

        def array_of(value: Value) -> Any:
            if value not in arrays:
                arrays[value] = self._array(value, arena, array_of, slots)
            return arrays[value]

        def filled(arguments: Sequence[Any]) -> Iterator[Any]:
            for argument in arguments:
                if isinstance(argument, Value):
                    yield array_of(argument)
                elif isinstance(argument, _Slot):
                    yield slots[argument.number]
                elif isinstance(argument, list):
                    yield list(filled(argument))
                else:
                    yield argument

        for function, arguments in self._calls:
            add = self._bound.add if isinstance(function, _Forward) else self._bound.record
            add(function, *filled(arguments))

    def _array(
        self, value: Value, arena: Arena, array_of: Callable[[Value], Any], slots: list[_C.Array]
    ) -> _C.Array:
        if value.is_constant:
            return self._weights.constant(self._graph, value)
        group = self._groups[value]
        if group.slot is not None:
            return slots[group.slot.number]
        if value in self._sources:
            step, source = self._sources[value]
            array: _C.Array = array_of(source)
            return array if step is None else run(step, array_of)[0]
        return arena.view(value.outline, group.lifetime.offset)

    def run_plain(self, inputs: list[Any]) -> list[_C.Array] | None:
        """Computes the results in one native call, for inputs that need no preparation.

        None if they do, or if it is not bound for the threads there are and the precision that is set.
        """
        if self._bound is None or self._way != _way():
            return None
        return self._bound.run_plain(inputs)

    def run(self, inputs: Sequence[_C.Array]) -> list[_C.Array]:
        """Computes the results, in fresh memory."""
        assert self._bound is not None
        fresh = [_C.empty(*about) for about in self._fresh]
        self._bound.run([*inputs, *fresh])
        return fresh


def _way() -> tuple[int, int]:
    """What calls are bound for: the threads there are and how float32 numbers are multiplied."""
    return _C.get_num_threads(), _C.get_matmul_precision()


class _Forward:
    """A step for which there is only its function's `forward`: it can't be recorded."""

    def __init__(self, step: Step, outputs: list[Value]):
        self._step = step
        self.reads = list(step.reads())
        self._indices = [step.outputs.index(value) for value in outputs]

    def __call__(self, inputs: list[_C.Array], outs: list[_C.Array]) -> None:
        """Computes what is wanted of it."""
        arrays = dict(zip(self.reads, inputs, strict=True))
        results = run(self._step, arrays.__getitem__)
        for index, out in zip(self._indices, outs, strict=True):
            _C.copy(results[index], None, False, out)


def _by_forward(step: Step, outputs: list[Value]) -> Call:
    """The call of such a step."""
    forward = _Forward(step, outputs)
    return forward, [forward.reads, outputs]


def _meet(some: Sequence[Value], others: Sequence[Value]) -> bool:
    return any(value in some for value in others)
