"""What a model is made of, and what a prediction costs: a row per layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medkern import _C
from medkern.autograd import Function, no_grad, recording
from medkern.kernels._precision import autocast
from medkern.tensor import Tensor

if TYPE_CHECKING:
    from medkern.nn.module import Module

# Operations that compute nothing: they give the memory of x under another shape.
_VIEWS = {"Expand", "GetItem", "Permute", "Reshape"}
# And those that only copy.
_COPIES = {"Cast", "Concat", "Embedding", "MaxUnpool", "Move", "Pad"}


class Layer(NamedTuple):
    """One row.

    Attributes:
        path: the module's, "" for the model itself.
        kind: the module's class, or an operation's name where a module that holds others does it itself.
        shape: of the result.
        parameters: numbers learnt or frozen; 0 if an earlier row has counted them.
        flops: of a prediction; see `Module.summary`.
        bytes: of what it computes.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    flops: int
    bytes: int


class Summary:
    """The rows and totals of `Module.summary`; as a string a table.

    Attributes:
        model: name of the model's class.
        inputs: shapes.
        layers: the rows, in the order of computation.
        parameters: numbers in all parameters.
        trainable: those of parameters that require a gradient.
        buffers: numbers in all buffers.
        flops: of a prediction.
        bytes: of all that the layers compute, which training keeps for backward and a prediction doesn't.
        weight_bytes: of parameters and buffers.
    """

    def __init__(self, module: Module, inputs: Sequence[Tensor], layers: Sequence[Layer]):
        self.model = type(module).__name__
        self.inputs = [x.shape for x in inputs]
        self.layers = list(layers)
        parameters, buffers = list(module.parameters()), list(module.buffers())
        self.parameters = sum(p.size for p in parameters)
        self.trainable = sum(p.size for p in parameters if p.requires_grad)
        self.buffers = sum(b.size for b in buffers)
        self.weight_bytes = sum(x.size * x.dtype.itemsize for x in (*parameters, *buffers))
        self.flops = sum(layer.flops for layer in layers)
        self.bytes = sum(layer.bytes for layer in layers)

    def as_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts, fit for JSON."""
        names = ("model", "parameters", "trainable", "buffers", "flops", "bytes", "weight_bytes")
        return {
            **{name: getattr(self, name) for name in names},
            "inputs": [list(shape) for shape in self.inputs],
            "layers": [{**layer._asdict(), "shape": list(layer.shape)} for layer in self.layers],
        }

    def __str__(self) -> str:
        rows = [("layer", "kind", "output", "parameters", "flops", "memory")]
        rows += [
            (
                layer.path or ".",
                layer.kind,
                str(layer.shape),
                f"{layer.parameters:,}",
                _scaled(layer.flops, 1000, _POWERS),
                _scaled(layer.bytes, 1024, _BYTES),
            )
            for layer in self.layers
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [
            "  ".join(
                text.ljust(width) if i < 3 else text.rjust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        frozen = self.parameters - self.trainable
        return "\n".join(
            [
                f"{self.model} of {', '.join(map(str, self.inputs))}",
                lines[0],
                rule,
                *lines[1:],
                rule,
                f"parameters  {self.parameters:,} ({self.trainable:,} trainable, {frozen:,} frozen), "
                f"{self.buffers:,} in buffers, {_scaled(self.weight_bytes, 1024, _BYTES)}",
                f"flops       {_scaled(self.flops, 1000, _POWERS)}",
                f"memory      {_scaled(self.bytes, 1024, _BYTES)} of results of layers",
            ]
        )

    __repr__ = __str__


_POWERS = ("", "k", "M", "G", "T")
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def _scaled(number: float, base: int, units: Sequence[str]) -> str:
    """A number with three digits and a unit."""
    power = 0
    while number >= base and power < len(units) - 1:
        number /= base
        power += 1
    return f"{number:.3g} {units[power]}".rstrip() if power else f"{number} {units[0]}".rstrip()


def summarize(module: Module, inputs: Sequence[Tensor]) -> Summary:
    """Follows the model once, in evaluation mode, without computing it; see `Module.summary`."""
    recorder = _Recorder()
    modes = [(m, m.training) for m in module.modules()]
    before = _C.outlining(True)
    try:
        for path, part in module.named_modules():
            part.training = False
            vars(part)["forward"] = recorder.watched(path, part)
        with no_grad(), autocast(False), recording(recorder.record):
            module(*inputs)
    finally:
        _C.outlining(before)
        for part, training in modes:
            vars(part).pop("forward", None)
            part.training = training
    return Summary(module, inputs, recorder.layers)


class _Open(NamedTuple):
    """A module that is computing, and [flops, bytes] of what it does itself."""

    path: str
    module: Module
    is_layer: bool
    counts: list[int]


class _Recorder:
    """Makes rows of the operations that come by.

    A module without submodules, or with parameters of its own, is a row; what other modules do themselves is
    one row per operation.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self._open: list[_Open] = []
        self._counted: set[int] = set()  # ids of parameters

    def watched(self, path: str, module: Module) -> Callable[..., Any]:
        """The forward of a module, with its row."""
        forward = module.forward
        own = [p for p in vars(module).values() if isinstance(p, Tensor) and _is_parameter(module, p)]
        is_layer = bool(own) or not any(module.children())

        def call(*inputs: Any, **options: Any) -> Any:
            opened = _Open(path, module, is_layer, [0, 0])
            self._open.append(opened)
            try:
                result = forward(*inputs, **options)
            finally:
                self._open.pop()
            if is_layer and type(module).__name__ != "Identity":
                size = sum(p.size for p in own if id(p) not in self._counted)
                self._counted.update(map(id, own))
                shape = next((x.shape for x in _tensors(result)), ())
                self.layers.append(Layer(path, type(module).__name__, shape, size, *opened.counts))
            return result

        return call

    def record(
        self,
        function: type[Function],
        inputs: tuple[Tensor | None, ...],
        options: dict[str, Any],
        results: tuple[_C.Array, ...],
    ) -> None:
        """Adds an operation to the module that does it."""
        name = function.__name__
        if name in _VIEWS:
            return
        flops = _flops(name, inputs, options, results)
        size = 0 if name == "Activated" else sum(y.size * y.dtype.itemsize for y in results)
        opened = self._open[-1]
        if opened.is_layer:
            opened.counts[0] += flops
            opened.counts[1] += size
        else:
            kind = options.get("op", options.get("activation") if name == "Activated" else None)
            self.layers.append(Layer(opened.path, kind or _snake(name), results[0].shape, 0, flops, size))


def _is_parameter(module: Module, x: Tensor) -> bool:
    return not any(x is getattr(module, name) for name in module._buffer_names)


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, (list, tuple)):
        for item in result:
            yield from _tensors(item)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _flops(
    name: str,
    inputs: tuple[Tensor | None, ...],
    options: dict[str, Any],
    results: tuple[_C.Array, ...],
) -> int:
    """Multiplications and additions, as `Module.summary` counts them."""
    x, count = inputs[0], results[0].size
    if x is None or name in _COPIES:
        return 0
    shapes = [y.shape for y in inputs[1:] if y is not None]
    if name == "Conv":
        return 2 * count * math.prod(shapes[0][1:])
    if name == "ConvTranspose":
        return 2 * x.size * math.prod(shapes[0][1:])
    if name == "Linear":
        return 2 * count * shapes[0][1]
    if name == "MatMul":
        return 2 * count * x.shape[-2 if options.get("transpose_a") else -1]
    if name in ("Recurrent", "RecurrentCell"):
        steps = x.size // x.shape[-1]
        return 2 * steps * sum(w.size for w in inputs[3:] if w is not None and w.ndim == 2)
    if name in ("MaxPool", "AvgPool"):
        return count * math.prod(np.broadcast_to(options["kernel_size"], x.ndim - 2).tolist())
    if name == "BatchNorm":
        return (2 + (options.get("activation") is not None)) * count
    if name in ("InstanceNorm", "GroupNorm", "LayerNorm"):
        return (6 + (options.get("activation") is not None)) * count
    if name in ("Softmax", "LogSoftmax"):
        return 3 * count
    if name == "Interpolate":
        return 0 if options["mode"] == "nearest" else 2 * 2 ** (x.ndim - 2) * count
    if name in ("Sum", "Mean", "Var", "Extreme", "AdaptiveAvgPool", "AdaptiveMaxPool"):
        return x.size
    return count
