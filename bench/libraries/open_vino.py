"""OpenVINO, with contiguous or with channels-last inputs and outputs.

The graph is compiled once for latency, inputs are shared, outputs are the request's own. Between
channels-last ends it reorders no whole images, which otherwise is most of a single layer's time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..case import Arrays
from ..graph import Graph, read_feeds
from .onnx_runtime import export, exported

__all__ = ["arrays", "bound", "compiled", "context", "export", "load", "prepare", "start"]

_threads = 1
_channels_last = False


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version."""
    global _threads, _channels_last
    import openvino

    _threads = threads
    _channels_last = variant == "channels_last"
    version: str = openvino.__version__
    return version.partition("-")[0]


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
    read = core.read_model(model)
    return core.compile_model(_ends_last(read) if _channels_last else read, "CPU", options)


def _ends_last(model: Any) -> Any:
    """The model with channels-last images for inputs and outputs."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    layouts = {4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
    made = PrePostProcessor(model)
    for values, end in ((model.inputs, made.input), (model.outputs, made.output)):
        for i, value in enumerate(values):
            rank = value.get_partial_shape().rank.get_length()
            if rank in layouts:
                first, last = layouts[rank]
                end(i).model().set_layout(Layout(first))
                end(i).tensor().set_layout(Layout(last))
    return made.build()


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed."""
    graph = Graph()
    outputs = exported(operation, s, a, graph)
    if not outputs or (_channels_last and all(x.ndim < 4 for x in graph.feeds)):
        return None  # without images both layouts are one
    return bound(compiled(graph.model(outputs)), graph.feeds)


def load(path: str) -> Callable[[], Any]:
    """The function that runs what `export` wrote."""
    return bound(compiled(path), read_feeds(path))


def bound(model: Any, feeds: list[np.ndarray]) -> Callable[[], Any]:
    """A request whose inputs are these arrays."""
    import openvino

    if _channels_last:
        feeds = [np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim >= 4 else x for x in feeds]
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


def arrays(result: Any, operation: ModuleType, s: Any) -> list[np.ndarray]:
    """The results as NumPy arrays in PyTorch's shapes."""
    found = [np.array(x.data) for x in result]
    if _channels_last:
        found = [np.moveaxis(x, -1, 1) if x.ndim >= 4 else x for x in found]
    adapt = getattr(operation, "from_onnx", None)
    return found if adapt is None else adapt(s, found)
