"""ONNX Runtime: the graph is optimized once, inputs and outputs are bound once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..case import Arrays
from ..graph import Graph, read_feeds

_threads = 1


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version."""
    global _threads
    import onnxruntime

    _threads = threads
    return onnxruntime.__version__


def session(model: bytes | str) -> Any:
    """A session of a model, or of the file it is in."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed."""
    graph = Graph()
    outputs = exported(operation, s, a, graph)
    return bound(session(graph.model(outputs)), graph.feeds) if outputs else None


def exported(operation: ModuleType, s: Any, a: Arrays, graph: Graph) -> list[str]:
    """Adds the case to a graph; its results, none where ONNX can't compute it."""
    make = getattr(operation, "by_onnx", None)
    return [] if make is None or s.gradients else make(s, a, graph)


def export(operation: ModuleType, s: Any, a: Arrays, path: str) -> bool:
    """Writes the model and its inputs to files; whether there is one."""
    graph = Graph()
    outputs = exported(operation, s, a, graph)
    if outputs:
        graph.write(outputs, path)
    return bool(outputs)


def load(path: str) -> Callable[[], Any]:
    """The function that runs what `export` wrote."""
    return bound(session(path), read_feeds(path))


def bound(running: Any, feeds: list[np.ndarray]) -> Callable[[], Any]:
    """A session with its inputs and outputs bound to arrays."""
    import onnxruntime

    names = [value.name for value in running.get_inputs()]
    first = running.run(None, dict(zip(names, feeds, strict=True)))
    binding = running.io_binding()
    inputs = [onnxruntime.OrtValue.ortvalue_from_numpy(x) for x in feeds]
    results = [onnxruntime.OrtValue.ortvalue_from_numpy(x) for x in first]
    for name, value in zip(names, inputs, strict=True):
        binding.bind_ortvalue_input(name, value)
    for output, value in zip(running.get_outputs(), results, strict=True):
        binding.bind_ortvalue_output(output.name, value)

    def call() -> list[Any]:
        assert inputs  # on the CPU they share the arrays' memory
        running.run_with_iobinding(binding)
        return results

    return call


def context(s: Any) -> contextlib.AbstractContextManager[Any]:
    """Nothing to set."""
    return contextlib.nullcontext()


def arrays(result: Any, operation: ModuleType, s: Any) -> list[np.ndarray]:
    """The results as NumPy arrays in PyTorch's shapes."""
    found = [x.numpy() for x in result]
    adapt = getattr(operation, "from_onnx", None)
    return found if adapt is None else adapt(s, found)
