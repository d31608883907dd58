"""OpenVINO: the graph is compiled once for latency, inputs are shared, outputs are the request's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..case import Arrays
from ..graph import Graph

_threads = 1


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version."""
    global _threads
    import openvino

    _threads = threads
    return openvino.__version__.partition("-")[0]


def compiled(model: Any) -> Any:
    """A model, or the file it is in, made ready to run."""
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": _threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    return core.compile_model(core.read_model(model), "CPU", options)


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed."""
    make = getattr(operation, "by_onnx", None)
    if make is None or s.gradients:
        return None
    graph = Graph()
    outputs = make(s, a, graph)
    return bound(compiled(graph.model(outputs)), graph.feeds)


def bound(model: Any, feeds: list[np.ndarray]) -> Callable[[], Any]:
    """A request whose inputs are these arrays."""
    import openvino

    request = model.create_infer_request()
    # Neither the request nor a tensor keeps the memory it was given alive.
    kept = [model, feeds, [openvino.Tensor(x, shared_memory=True) for x in feeds]]
    for i, tensor in enumerate(kept[-1]):
        request.set_input_tensor(i, tensor)
    request.infer()
    results = [request.get_output_tensor(i) for i in range(len(model.outputs))]

    def call() -> list[Any]:
        assert kept
        request.infer()
        return results

    return call


def context(s: Any) -> contextlib.AbstractContextManager[Any]:
    """Nothing to set."""
    return contextlib.nullcontext()


def arrays(result: Any) -> list[np.ndarray]:
    """The results as NumPy arrays."""
    return [np.array(x.data) for x in result]
