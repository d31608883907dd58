"""`compile`: a model prepared once for many predictions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from medkern import _C
from medkern.devices import device, get_default_device
from medkern.inference.arena import Arena
from medkern.inference.graph import Skeleton
from medkern.inference.passes import simplify
from medkern.inference.program import Program
from medkern.inference.weights import Weights
from medkern.kernels._precision import BY_TYPE, is_autocast, matmul_precision
from medkern.nn import Module
from medkern.nn.module import device_of
from medkern.tensor import Tensor

_MOST_SHAPES = 8  # whose programs are kept


class CompiledModel:
    """A model prepared for prediction; made by `compile`.

    Attributes:
        dtypes: the type of each input.
        device: where the model is, and where its results are.
        precision: how a CUDA device computes: "float32", "tf32", "bf16", or None: as it is set.
    """

    def __init__(self, model: Module, example: Any, precision: str | None = None):
        if not isinstance(model, Module):
            raise TypeError(f"compile: model must be a Module, got {type(model).__name__}")
        if precision is not None and precision not in BY_TYPE:
            raise ValueError(f"compile: precision must be 'float32', 'tf32' or 'bf16', got {precision!r}")
        self.precision = precision
        self._narrow = _is_narrow(precision)
        self.device = device_of(model) or get_default_device()
        examples = example if isinstance(example, tuple) else (example,)
        arrays = [_array(x, number, self.device) for number, x in enumerate(examples)]
        self.dtypes = [array.dtype for array in arrays]
        self._programs: OrderedDict[tuple[tuple[int, ...], ...], Program] = OrderedDict()
        self._lock = threading.Lock()
        self._stream: int | None = None  # that of the last call
        with device(self.device), matmul_precision(self.precision):
            self._skeleton = Skeleton(model)
            self._weights = Weights(self._skeleton)
            self._arena = Arena(0, self.device)
            self._last = self._bound(tuple(array.shape for array in arrays))
        self._skeleton.forget()

    def __call__(self, *inputs: Any) -> Any:
        """The model's result for tensors or arrays like the example; their sizes may differ."""
        if len(inputs) != len(self.dtypes):
            raise TypeError(f"compiled model: expects {len(self.dtypes)} inputs, got {len(inputs)}")
        with self._lock:
            if _C.default_device() == self.device:
                results = self._run(inputs)
            else:
                with device(self.device):
                    results = self._run(inputs)
            arrange = self._last.arrange
        return arrange([Tensor(array) for array in results])

    def _run(self, inputs: tuple[Any, ...]) -> list[_C.Array]:
        if self.device == "cpu":
            return self._results(inputs)
        self._order()
        with matmul_precision(self.precision):
            return self._results(inputs)

    def _results(self, inputs: tuple[Any, ...]) -> list[_C.Array]:
        # Mostly the shapes are those of the call before.
        results = self._last.run_plain([x.array if isinstance(x, Tensor) else x for x in inputs])
        if results is None:
            arrays = self._checked(inputs)
            self._last = self._bound(tuple(array.shape for array in arrays))
            results = self._last.run(arrays)
        return results

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes that are kept: "weights", as the kernels take them, and "arena", the intermediate results."""
        return {"weights": self._weights.nbytes, "arena": self._arena.size}

    def _checked(self, inputs: tuple[Any, ...]) -> list[_C.Array]:
        arrays = []
        for number, (x, dtype) in enumerate(zip(inputs, self.dtypes, strict=True)):
            array = _array(x, number, self.device)
            if array.dtype != dtype:
                raise TypeError(
                    f"compiled model: input {number} must be {dtype} as the example was, got {array.dtype}"
                )
            arrays.append(array)
        return arrays

    def _order(self) -> None:
        """Has this call wait for the last one, where that was on another stream: they share memory."""
        stream = _C.stream_get(self.device)
        if self._stream is not None and self._stream != stream:
            _C.stream_wait(self.device, stream, self._stream)
        self._stream = stream

    def _bound(self, shapes: tuple[tuple[int, ...], ...]) -> Program:
        """The program for inputs of these shapes, ready to run."""
        program = self._programs.get(shapes)
        if program is None:
            graph = self._skeleton.follow(shapes, self.dtypes, self._narrow)
            simplify(graph)
            program = Program(graph, self._weights)
            self._programs[shapes] = program
            if len(self._programs) > _MOST_SHAPES:
                self._programs.popitem(last=False)
        else:
            self._programs.move_to_end(shapes)
        if program.arena_bytes > self._arena.size:
            # One memory for all shapes: what was bound to the old one is bound anew when its turn comes.
            for other in self._programs.values():
                other.unbind()
            self._arena = Arena(0, self.device)  # goes before the new one comes
            self._arena = Arena(program.arena_bytes, self.device)
        program.bind(self._arena)
        return program


def _is_narrow(precision: str | None) -> bool:
    """Whether layers on CUDA devices give bfloat16."""
    return is_autocast() if precision is None else precision == "bf16"


def compile(model: Module, example: Any, precision: str | None = None) -> CompiledModel:
    """Prepares a model for prediction: the same results, sooner and in less memory.

    The model is followed once with the shape of the example, in evaluation mode and without computing
    anything. Batch norms become part of the layers before them, and so does relu; weights are transformed and
    packed as the kernels take them, and intermediate results get their places in one block of memory. Inputs
    of another shape are followed once again and use the same weights. On a CUDA device a prediction is one
    launch of a graph, from the second call for a shape on.

    Args:
        model: the model, on the device where it is to run. It isn't changed, and later changes of its weights
            have no effect: only their prepared form is kept.
        example: a tensor or an array like those to come, of which only shape and type count. A tuple of them
            for a model with several inputs.
        precision: how a CUDA device computes: "float32", "tf32" or "bf16", as in `medkern.Trainer`; None:
            as it is set, by `set_float32_matmul_precision` at each call and by `autocast` now. With "bf16",
            or under `autocast`, layers keep what they compute in bfloat16, in half the memory; their weights
            are converted once, and what the model returns is float32. The CPU computes in float32 always.

    Returns:
        `compiled(x)`, which takes tensors or arrays from anywhere and gives tensors without gradients on the
        model's device, in memory of their own. Folded batch norms round differently than the model itself;
        otherwise it computes the same, and the same bits at any number of threads. One call runs at a time.

    Raises:
        TraceError: the model reads values of tensors, so that what it computes can't be known beforehand, or
            returns something else than tensors.
        ValueError: the model refuses the example's shape, or there is no such precision.
        TypeError: model or example are of a wrong type.

    Example:
        >>> model = medkern.models.UNet(filters=(8, 16), norm="batch")
        >>> predict = medkern.compile(model, np.zeros((1, 1, 32, 32), np.float32))
        >>> predict(np.ones((2, 1, 64, 32), np.float32)).shape
        (2, 1, 64, 32)
    """
    return CompiledModel(model, example, precision)


class Predictor:
    """A model that is compiled when it is first used, and again after its weights changed.

    Values written to a weight's memory behind its back, by way of `.numpy()`, are not noticed.

    Args:
        model: takes one tensor.
        precision: see `compile`.

    Example:
        >>> predict = medkern.inference.Predictor(medkern.nn.Linear(4, 2))
        >>> predict(np.zeros((1, 4), np.float32)).shape
        (1, 2)
    """

    def __init__(self, model: Module, precision: str | None = None):
        self.model = model
        self.precision = precision
        self._compiled: CompiledModel | None = None
        self._versions: list[tuple[_C.Array, int]] = []
        self._way: tuple[Any, ...] = ()

    def __call__(self, x: Any) -> Any:
        """The model's result in evaluation mode, without gradients."""
        array = _array(x, 0, None)
        versions = [(tensor.array, tensor._version) for tensor in self._tensors()]
        same = len(versions) == len(self._versions) and all(
            a is b and i == j for (a, i), (b, j) in zip(versions, self._versions, strict=True)
        )
        way = (self.precision, _is_narrow(self.precision), array.dtype)
        if self._compiled is None or not same or way != self._way:
            self.forget()
            self._compiled = compile(self.model, array, self.precision)
            self._versions, self._way = versions, way
        return self._compiled(array)

    def forget(self) -> None:
        """Lets go of the compiled model's memory; it is compiled again when it is needed."""
        self._compiled, self._versions = None, []

    def _tensors(self) -> list[Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]


def _array(x: Any, number: int, device: str | None) -> _C.Array:
    """An input as a contiguous array, on the device if one is named."""
    if isinstance(x, (list, int, float)):
        raise TypeError(f"compile: input {number} must be a tensor or an array, got {type(x).__name__}")
    given = x.array if isinstance(x, Tensor) else np.asarray(x) if isinstance(x, np.generic) else x
    return _C.Array(given, device).contiguous()
