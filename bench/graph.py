"""ONNX graphs, for the libraries that run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_OPSET = 18
_IR_VERSION = 9


def read_feeds(path: str) -> list[np.ndarray]:
    """The arrays that `Graph.write` wrote beside a model."""
    return [np.load(file) for file in sorted(Path(f"{path}.feeds").glob("*.npy"))]


class Graph:
    """An ONNX graph that grows node by node; every value has a number for a name.

    Attributes:
        feeds: the arrays of its inputs, in order.
    """

    def __init__(self) -> None:
        self.feeds: list[np.ndarray] = []
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._constants: list[Any] = []
        self._count = 0

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def input(self, array: np.ndarray) -> str:
        """A float input of the graph that is fed with `array`."""
        from onnx import helper

        name = self._name()
        data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._inputs.append(helper.make_tensor_value_info(name, data_type, array.shape))
        self.feeds.append(np.ascontiguousarray(array))
        return name

    def constant(self, array: np.ndarray) -> str:
        """A weight."""
        from onnx import numpy_helper

        name = self._name()
        self._constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def add_all(self, kind: str, inputs: list[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several results; "" is an input left out."""
        from onnx import helper

        names = [self._name() for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """A node with one result."""
        return self.add_all(kind, inputs, 1, **attributes)[0]

    def model(self, outputs: list[str]) -> bytes:
        """The file."""
        from onnx import TensorProto, helper

        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "case", self._inputs, results, self._constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        made.ir_version = _IR_VERSION
        return made.SerializeToString()

    def write(self, outputs: list[str], path: str) -> None:
        """Writes the file, and its feeds beside it."""
        Path(path).write_bytes(self.model(outputs))
        folder = Path(f"{path}.feeds")
        folder.mkdir()
        for i, feed in enumerate(self.feeds):
            np.save(folder / f"{i}.npy", feed)
