"""A model as a list of operations, found by following it once without computing it."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medkern import _C, kernels
from medkern.autograd import Function, no_grad, recording, widened
from medkern.kernels._precision import autocast
from medkern.nn import Module
from medkern.nn.module import Parameter
from medkern.tensor import Tensor


class TraceError(RuntimeError):
    """The model does something that can't be compiled."""


class Value:
    """A tensor of the graph.

    Attributes:
        outline: its shape, type and strides.
        key: what it is computed from, if that is constants alone; None if it depends on an input.
    """

    __slots__ = ("key", "outline")

    def __init__(self, outline: _C.Array, key: Hashable = None):
        self.outline = outline
        self.key = key

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every input."""
        return self.key is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along each axis."""
        return self.outline.shape

    def has_layout_of(self, other: Value) -> bool:
        """Whether an element of both lies at the same offset."""
        a, b = self.outline, other.outline
        same_strides = all(
            size <= 1 or p == q for size, p, q in zip(a.shape, a.strides, b.strides, strict=True)
        )
        return a.shape == b.shape and a.dtype == b.dtype and same_strides


class Step:
    """One operation of the graph.

    Attributes:
        function: the class whose `forward` computes it.
        inputs: its tensors, None where there is none.
        options: its other arguments; tensors and arrays among them are values as well.
        bare: the names of options that are arrays.
        outputs: its results.
        norms: batch norms folded into it, in order.
        activation: the name of the activation that is part of it, or None.
    """

    __slots__ = ("activation", "bare", "function", "inputs", "norms", "options", "outputs")

    def __init__(
        self,
        function: type[Function],
        inputs: Sequence[Value | None],
        options: Mapping[str, Any],
        outputs: Sequence[Value],
    ):
        self.function = function
        self.inputs = list(inputs)
        self.options = dict(options)
        self.outputs = list(outputs)
        self.bare = frozenset(name for name, value in options.items() if isinstance(value, _C.Array))
        self.norms: list[Step] = []
        self.activation: str | None = options.get("activation")

    @property
    def has_constant_weights(self) -> bool:
        """Whether all inputs but the first are the same for every input of the model."""
        return all(x is None or x.is_constant for x in self.inputs[1:])

    def reads(self) -> Iterator[Value]:
        """Every value it reads."""
        for value in (*self.inputs, *self.options.values()):
            if isinstance(value, Value):
                yield value


class Graph:
    """The steps of a model for inputs of given shapes.

    Attributes:
        inputs: what the model is called with.
        steps: in an order in which each reads only what is there; those on constants alone are in
            `constant_steps`.
        outputs: the tensors among the results.
        arrange: puts arrays in place of `outputs` into the structure the model returned.
    """

    def __init__(self, inputs: list[Value]):
        self.inputs = inputs
        self.steps: list[Step] = []
        self.constant_steps: dict[Hashable, tuple[Step, int]] = {}
        self.literals: dict[Hashable, _C.Array] = {}
        self.outputs: list[Value] = []
        self.arrange: Callable[[Sequence[Any]], Any] = tuple

    def uses(self) -> dict[Value, int]:
        """How many steps read each value, the caller counted as one."""
        counts: dict[Value, int] = {}
        for value in (*self.outputs, *(value for step in self.steps for value in step.reads())):
            counts[value] = counts.get(value, 0) + 1
        return counts

    def producers(self) -> dict[Value, Step]:
        """The step that makes each value."""
        return {value: step for step in self.steps for value in step.outputs}


@contextlib.contextmanager
def _outlining(enabled: bool = True) -> Iterator[None]:
    before = _C.outlining(enabled)
    try:
        yield
    finally:
        _C.outlining(before)


def outline(shape: Sequence[int], dtype: Any, channels_last: bool = False) -> _C.Array:
    """An array without memory."""
    with _outlining():
        return _C.empty(shape, dtype, channels_last)


class Skeleton:
    """A model without the values of its weights, in evaluation mode.

    It can be followed for other shapes after the weights are gone.

    Args:
        model: the model; nothing of it is changed.

    Attributes:
        weights: the model's own tensors by path. `forget` drops them.
    """

    def __init__(self, model: Module):
        self.weights: dict[str, Tensor] = {}
        self._paths: dict[int, str] = {}  # by id of the outline
        self._twins: dict[int, Any] = {}  # by id of the original
        with _outlining():
            self.module = self._twin(model, "")
        self._twins.clear()

    def forget(self) -> None:
        """Drops the weights."""
        self.weights = {}

    def _twin(self, x: Any, path: str) -> Any:
        if id(x) in self._twins:
            return self._twins[id(x)]
        twin: Any
        if isinstance(x, Module):
            twin = self._twins[id(x)] = object.__new__(type(x))
            for name, value in vars(x).items():
                vars(twin)[name] = self._twin(value, f"{path}.{name}" if path else name)
            vars(twin)["training"] = False
        elif isinstance(x, Tensor):
            outline = _C.empty(x.shape, x.dtype)
            twin = Parameter(Tensor(outline), False) if isinstance(x, Parameter) else Tensor(outline)
            self._twins[id(x)] = twin
            self._paths[id(outline)] = path
            self.weights[path] = x
        elif isinstance(x, types.MethodType) and isinstance(x.__self__, Module):
            twin = types.MethodType(x.__func__, self._twin(x.__self__, path))
        elif type(x) in (list, tuple):
            twin = type(x)(self._twin(item, f"{path}.{i}") for i, item in enumerate(x))
        elif type(x) is dict:
            twin = {key: self._twin(value, f"{path}.{key}") for key, value in x.items()}
        else:
            twin = x
        return twin

    def follow(
        self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[np.dtype], narrow: bool = False
    ) -> Graph:
        """The graph for inputs of these shapes and types.

        Args:
            shapes: of each input.
            dtypes: of each input.
            narrow: whether layers on CUDA devices compute in bfloat16; results are float32 then as well.

        Raises:
            TraceError: the model reads values, or gives something else than tensors.
        """
        with _outlining(), no_grad(), autocast(narrow):
            outlines = [_C.empty(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
            tracer = _Tracer(self, outlines)
            with recording(tracer.record):
                try:
                    result = self.module(*(Tensor(outline) for outline in outlines))
                except (ValueError, TypeError, BufferError) as error:
                    if "is an outline" in f"{error} {error.__cause__}":
                        raise TraceError(
                            "compile: the model reads the values of a tensor (by .numpy(), .item(), float() "
                            "or a condition), so that what it computes may differ from input to input"
                        ) from error
                    raise
                tracer.graph.arrange = tracer.collect(result, narrow)
        return tracer.graph


class _Tracer:
    """Turns the operations that come by into steps."""

    def __init__(self, skeleton: Skeleton, outlines: list[_C.Array]):
        self.skeleton = skeleton
        self.values: dict[int, Value] = {}  # by id of the array, which the value or `literals` keeps
        self.graph = Graph([Value(outline) for outline in outlines])
        for value in self.graph.inputs:
            self.values[id(value.outline)] = value

    def record(
        self,
        function: type[Function],
        inputs: tuple[Tensor | None, ...],
        options: dict[str, Any],
        results: tuple[_C.Array, ...],
    ) -> None:
        """Adds a step."""
        if all(id(array) in self.values for array in results):
            return  # it gave back what it got
        operands = [None if x is None else self._value(x.array) for x in inputs]
        step = Step(function, operands, options, [])
        step.options = {name: self._option(value) for name, value in options.items()}
        key: Hashable = None
        if all(value.is_constant for value in step.reads()):
            key = (
                function.__qualname__,
                *(None if x is None else x.key for x in operands),
                _frozen(step.options),
            )
        for index, array in enumerate(results):
            value = Value(array, None if key is None else (key, index))
            step.outputs.append(value)
            self.values[id(array)] = value
            if key is not None:
                self.graph.constant_steps[value.key] = step, index
        if key is None:
            self.graph.steps.append(step)

    def _value(self, array: _C.Array) -> Value:
        value = self.values.get(id(array))
        if value is None:
            key: Hashable
            path = self.skeleton._paths.get(id(array))
            if path is not None:
                key = path
            elif not array.is_outline:
                with _outlining(False):
                    narrow = array.dtype == _C.bfloat16  # which NumPy has not
                    data = np.ascontiguousarray(kernels.copy(array, dtype="float32") if narrow else array)
                key = (data.shape, str(array.dtype), data.tobytes())
                self.graph.literals[key] = array
            else:
                raise TraceError(
                    "compile: the model makes a tensor without an operation of medkern.functional or Tensor"
                )
            value = self.values[id(array)] = Value(array, key)
        return value

    def _option(self, option: Any) -> Any:
        if isinstance(option, Tensor):
            return self._value(option.array)
        return self._value(option) if isinstance(option, _C.Array) else option

    def collect(self, result: Any, wide: bool) -> Callable[[Sequence[Any]], Any]:
        """Notes the tensors in `result` as outputs and gives the function that rebuilds it.

        If they are to be wide, those of bfloat16 become float32.
        """
        outputs = self.graph.outputs
        if isinstance(result, Tensor):
            outputs.append(self._value((widened(result) if wide else result).array))
            index = len(outputs) - 1
            return lambda tensors: tensors[index]
        if isinstance(result, (tuple, list)):
            kind = type(result)
            make: Any = kind._make if hasattr(kind, "_make") else kind
            parts = [self.collect(item, wide) for item in result]
            return lambda tensors: make([part(tensors) for part in parts])
        if isinstance(result, dict):
            named = {name: self.collect(item, wide) for name, item in result.items()}
            return lambda tensors: {name: part(tensors) for name, part in named.items()}
        if result is None:
            return lambda tensors: None
        raise TraceError(
            f"compile: the model must return tensors, or tuples, lists or dicts of them, got "
            f"{type(result).__name__}"
        )


def _frozen(x: Any) -> Hashable:
    """Something hashable that is equal for equal options."""
    if isinstance(x, Value):
        return x.key
    if isinstance(x, dict):
        return tuple((name, _frozen(value)) for name, value in x.items())
    if isinstance(x, (list, tuple)):
        return tuple(_frozen(item) for item in x)
    if isinstance(x, slice):
        return ("slice", x.start, x.stop, x.step)
    if isinstance(x, np.ndarray):
        return (x.shape, x.dtype.str, x.tobytes())
    return x
