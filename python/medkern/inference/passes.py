"""What makes a graph shorter without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable

from medkern.functional.conv import Conv, ConvTranspose
from medkern.functional.gemm import Linear
from medkern.functional.norm import BatchNorm
from medkern.functional.pointwise import Add, Unary
from medkern.inference.graph import Graph, Step
from medkern.inference.strips import find_strips

_WEIGHTED = (Conv, ConvTranspose, Linear)


def simplify(graph: Graph) -> None:
    """Drops what nobody reads, folds batch norms, fuses activations and finds what to compute in strips."""
    drop_unused(graph)
    fold_batch_norms(graph)
    fuse_activations(graph)
    if graph.inputs[0].outline.device == "cpu":  # strips are made for its caches
        find_strips(graph)


def drop_unused(graph: Graph) -> None:
    """Removes steps whose results nobody reads."""
    needed = set(graph.outputs)
    kept: list[Step] = []
    for step in reversed(graph.steps):
        if any(value in needed for value in step.outputs):
            kept.append(step)
            needed.update(step.reads())
    graph.steps = kept[::-1]


def fold_batch_norms(graph: Graph) -> None:
    """Makes y = (conv(x) - mean) / sqrt(var + eps) weight + bias one convolution with other weights."""

    def fold(step: Step, producer: Step) -> bool:
        if step.function is not BatchNorm or step.options["training"] or producer.activation is not None:
            return False
        if not _has_weights(producer):
            return False
        if producer.function is Linear and len(step.outputs[0].shape) != 2:
            return False  # its channels are axis 1, those of the linear layer the last
        parameters = [value for value in step.reads() if value is not step.inputs[0]]
        if not all(value.is_constant for value in parameters):
            return False
        producer.norms.append(step)
        producer.activation = step.activation
        return True

    _merge(graph, fold)


def fuse_activations(graph: Graph) -> None:
    """Makes relu(conv(x)) one step, and relu(a + b)."""

    def fuse(step: Step, producer: Step) -> bool:
        if step.function is not Unary or step.options["op"] != "relu" or producer.activation is not None:
            return False
        if not _has_weights(producer) and producer.function is not Add:
            return False
        producer.activation = "relu"
        return True

    _merge(graph, fuse)


def _has_weights(step: Step) -> bool:
    return step.function in _WEIGHTED and step.has_constant_weights


def _merge(graph: Graph, absorb: Callable[[Step, Step], bool]) -> None:
    """Offers each step to the one whose result it alone reads."""
    uses, producers = graph.uses(), graph.producers()
    kept: list[Step] = []
    for step in graph.steps:
        x = step.inputs[0] if step.inputs else None
        producer = producers.get(x) if x is not None else None
        if x is not None and producer is not None and uses[x] == 1 and absorb(step, producer):
            producer.outputs = step.outputs
            producers[step.outputs[0]] = producer
        else:
            kept.append(step)
    graph.steps = kept
