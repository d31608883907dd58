"""What a compiled model keeps of its weights: every constant in the form its step takes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

from medkern import _C, kernels
from medkern.autograd import Node, no_grad
from medkern.functional.conv import ConvTranspose
from medkern.functional.gemm import Linear
from medkern.inference.graph import Graph, Skeleton, Step, TraceError, Value
from medkern.tensor import Tensor

T = TypeVar("T")


class Weights:
    """Constants and prepared weights, made once for all shapes.

    Args:
        skeleton: has the model's tensors until it is told to forget them.
    """

    def __init__(self, skeleton: Skeleton):
        self._skeleton = skeleton
        self._kept: dict[Hashable, Any] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        total = 0
        for kept in self._kept.values():
            for part in kept if isinstance(kept, tuple) else (kept,):
                if isinstance(part, _C.Array):
                    total += part.size * part.dtype.itemsize
                elif part is not None:
                    total += part.nbytes
        return total

    def prepared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, from the first time on."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def constant(self, graph: Graph, value: Value) -> _C.Array:
        """The array of a constant, its own copy."""

        def copied() -> _C.Array:
            array = self.computed(graph, value)
            return _C.copy(array, None, array.keeps_channels_last, None)

        return self.prepared(("constant", value.key), copied)

    def computed(self, graph: Graph, value: Value) -> _C.Array:
        """The same, without keeping it."""
        key = value.key
        if key in graph.literals:
            return graph.literals[key]
        if isinstance(key, str):
            tensor = self._skeleton.weights.get(key)
            if tensor is None:
                raise TraceError(
                    f"compile: for inputs of this shape the model uses {key} in another way than for the "
                    "example; compile it with an example of this shape"
                )
            return tensor.array
        step, index = graph.constant_steps[key]
        results = run(step, lambda x: self.computed(graph, x))
        return results[index]

    def folded(self, graph: Graph, step: Step) -> tuple[_C.Array, _C.Array | None]:
        """Weight and bias of a convolution or linear layer with the batch norms after it.

        Each makes weight * s and (bias - mean) s + shift with s = scale / sqrt(var + eps), computed in
        float64 and rounded once. Beside bfloat16 images weights become bfloat16, and so does the bias of a
        linear layer.
        """
        weight, bias = self._exact(graph, step)
        x = step.inputs[0]
        assert x is not None
        if x.outline.dtype == _C.bfloat16:
            weight = kernels.copy(weight, dtype=_C.bfloat16)
            if bias is not None and step.function is Linear:
                bias = kernels.copy(bias, dtype=_C.bfloat16)
        return weight, bias

    def _exact(self, graph: Graph, step: Step) -> tuple[_C.Array, _C.Array | None]:
        """The same in the type that the model's weights have."""
        arrays = [None if x is None else self.computed(graph, x) for x in step.inputs[1:3]]
        assert arrays[0] is not None
        if not step.norms:
            return arrays[0], arrays[1]

        def values(x: Value | None) -> np.ndarray | None:
            return None if x is None else self.computed(graph, x).numpy()

        weight, bias = (None if x is None else x.numpy() for x in arrays)
        assert weight is not None
        dtype, device = weight.dtype, arrays[0].device
        channels = step.outputs[0].shape[1]
        factor, offset = np.ones(channels), np.zeros(channels) if bias is None else bias.astype(np.float64)
        for norm in step.norms:
            mean, variance = values(norm.options["running_mean"]), values(norm.options["running_var"])
            assert mean is not None and variance is not None
            scale, shift = values(norm.inputs[1]), values(norm.inputs[2])
            s = 1 / np.sqrt(variance.astype(np.float64) + norm.options["eps"])
            s = s if scale is None else s * scale
            factor = factor * s
            offset = (offset - mean) * s + (0 if shift is None else shift)
        if step.function is ConvTranspose:  # (input channels, output channels / groups, kernel)
            groups = step.options["groups"]
            split = weight.reshape(groups, -1, *weight.shape[1:])
            each = factor.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))
            weight = (split * each).reshape(weight.shape)
        else:
            weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        return _C.Array(weight.astype(dtype), device), _C.Array(offset.astype(dtype), device)


def run(step: Step, array_of: Callable[[Value], _C.Array]) -> tuple[_C.Array, ...]:
    """Computes a step by its function's `forward`."""
    inputs = [None if x is None else Tensor(array_of(x)) for x in step.inputs]
    options = dict(step.options)
    for name, value in step.options.items():
        if isinstance(value, Value):
            array = array_of(value)
            options[name] = array if name in step.bare else Tensor(array)
    with no_grad():
        results = step.function.forward(Node(step.function, ()), *inputs, **options)
    return results if isinstance(results, tuple) else (results,)
