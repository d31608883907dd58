"""A network as an ONNX graph, for prediction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..case import Arrays
from ..operations.recurrent import onnx_weights
from .net import LSTM_NAMES, Layer, Net

_EPS = 1e-5
_SAME = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "add": "Add", "flatten": "Flatten"}


def export(net: Net, arrays: Arrays, graph: Any, x: np.ndarray) -> list[str]:
    """Adds the network with these parameters to a graph; gives the name of its result."""
    values = [graph.input(x)]
    for layer in net.layers:
        inputs = [values[i] for i in layer.inputs]
        parameters = {name: arrays[f"{layer.name}.{name}"] for name in net.shapes(layer)}
        values.append(_node(layer, net.rank, parameters, inputs, graph))
    return [values[-1]]


def _node(layer: Layer, rank: int, parameters: Arrays, inputs: list[str], graph: Any) -> str:
    """The node of a layer; gives the name of its result."""
    o = layer.options
    window = {
        "kernel_shape": [o.get("kernel", 1)] * rank,
        "strides": [o.get("stride", 1)] * rank,
        "pads": [o.get("padding", 0)] * (2 * rank),
    }
    if layer.kind == "lstm":
        steps_first = graph.add("Transpose", inputs, perm=[1, 0, 2])
        values = onnx_weights("lstm", [tuple(parameters[name] for name in LSTM_NAMES)])
        constants = [graph.constant(value) for value in values]
        y = graph.add("LSTM", [steps_first, *constants], hidden_size=o["hidden"])
        y = graph.add("Squeeze", [y, graph.constant(np.array([1]))])
        return graph.add("Transpose", [y], perm=[1, 0, 2])
    constants = [graph.constant(value) for value in parameters.values()]
    if layer.kind in ("conv", "conv_transpose"):
        return graph.add("Conv" if layer.kind == "conv" else "ConvTranspose", [*inputs, *constants], **window)
    if layer.kind == "batch_norm":
        return graph.add("BatchNormalization", [*inputs, *constants], epsilon=_EPS)
    if layer.kind == "linear":
        return graph.add("Gemm", [*inputs, *constants], transB=1)
    if layer.kind == "embedding":
        return graph.add("Gather", [*constants, *inputs])
    if layer.kind == "max_pool":
        return graph.add("MaxPool", inputs, **window)
    if layer.kind == "global_average":
        return graph.add("Flatten", [graph.add("GlobalAveragePool", inputs)])
    if layer.kind == "concat":
        return graph.add("Concat", inputs, axis=1)
    if layer.kind == "last":
        return graph.add("Gather", [*inputs, graph.constant(np.array(-1))], axis=1)
    if layer.kind == "leaky_relu":
        return graph.add("LeakyRelu", inputs, alpha=o["slope"])
    return graph.add(_SAME[layer.kind], inputs)
