"""Reverse-mode automatic differentiation.

An operation is a subclass of `Function`: `forward` computes arrays, `backward` turns the gradients of its
results into the gradients of its inputs. Applying it to tensors records a `Node`; `backward` (the function)
walks the nodes from the last to the first.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medkern import _C, kernels
from medkern.tensor import Tensor

Recorder = Callable[[type["Function"], tuple[Tensor | None, ...], dict[str, Any], tuple[_C.Array, ...]], None]


class _State(threading.local):
    """What holds in this thread: every operation asks, so that the defaults are attributes of the class."""

    enabled: bool = True
    recorder: Recorder | None = None


_state = _State()
_sequence = itertools.count()


def is_grad_enabled() -> bool:
    """Whether operations on tensors are being recorded in this thread."""
    return _state.enabled


@contextlib.contextmanager
def _grad_mode(enabled: bool) -> Iterator[None]:
    before = is_grad_enabled()
    _state.enabled = enabled
    try:
        yield
    finally:
        _state.enabled = before


def no_grad() -> contextlib.AbstractContextManager[None]:
    """A context, or a decorator, in which operations are not recorded."""
    return _grad_mode(False)


def enable_grad() -> contextlib.AbstractContextManager[None]:
    """A context in which operations are recorded, even inside `no_grad`."""
    return _grad_mode(True)


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """A context in which `recorder(function, inputs, options, results)` is called after each operation."""
    before = _state.recorder
    _state.recorder = recorder
    try:
        yield
    finally:
        _state.recorder = before


class Node:
    """One recorded operation: what its backward needs and where its gradients go.

    `forward` and `backward` of a `Function` get it as `ctx`. Options may be kept on it as plain
    attributes; tensors go through `save` (inputs) and `save_output` (results), which keep double
    backward and the check for changed values right.

    Attributes:
        needs: for each tensor input, whether its gradient is wanted.
    """

    def __init__(self, function: type[Function], inputs: tuple[Tensor | None, ...]):
        self.function = function
        self.sequence = next(_sequence)
        self.needs = tuple([x is not None and x.requires_grad for x in inputs])
        # Where each input's gradient goes: a leaf, or result `index` of an earlier node.
        self.edges = [
            None if x is None or not x.requires_grad else x if x._node is None else (x._node, x._index)
            for x in inputs
        ]
        self.results: list[tuple[tuple[int, ...], np.dtype]] = []
        self._saved: list[tuple[Tensor | None, int]] | None = []
        self._saved_outputs: list[tuple[_C.Array, int]] | None = []

    if TYPE_CHECKING:  # the options a Function keeps

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def save(self, *tensors: Tensor | None) -> None:
        """Keeps inputs for backward, which gets them from `saved`."""
        self._saved = [(x, 0 if x is None else x._version) for x in tensors]

    def save_output(self, *arrays: _C.Array, first: int = 0) -> None:
        """Keeps results `first`, `first` + 1, ... for backward, which gets them from `outputs`."""
        self._saved_outputs = [(array, first + i) for i, array in enumerate(arrays)]

    @property
    def saved(self) -> tuple[Any, ...]:
        """The inputs given to `save`, in order."""
        if self._saved is None:
            raise RuntimeError(
                f"{self.function.__name__}: backward was called twice; pass retain_graph=True to the "
                "first call"
            )
        for x, version in self._saved:
            if x is not None and x._version != version:
                raise RuntimeError(
                    f"{self.function.__name__}: a tensor of shape {x.shape} that backward needs was "
                    "changed in place after forward"
                )
        return tuple(x for x, _ in self._saved)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The results given to `save_output`, in order, linked to this node."""
        if self._saved_outputs is None:
            raise RuntimeError(
                f"{self.function.__name__}: backward was called twice; pass retain_graph=True to the "
                "first call"
            )
        return tuple(_result(array, self, index) for array, index in self._saved_outputs)

    def release(self) -> None:
        """Lets go of what was saved."""
        self._saved = None
        self._saved_outputs = None


def _tensors(inputs: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
    """The inputs with arrays as tensors, on the device of the first tensor among them."""
    for x in inputs:
        if not (isinstance(x, Tensor) or x is None):
            break
    else:
        return inputs
    device = next((x.device for x in inputs if isinstance(x, Tensor)), None)
    return tuple(x if x is None or isinstance(x, Tensor) else Tensor(_C.Array(x, device)) for x in inputs)


def _result(array: _C.Array, node: Node, index: int) -> Tensor:
    result = Tensor(array, requires_grad=True)
    result._node = node
    result._index = index
    return result


class Function:
    """A differentiable operation.

    A subclass defines two static methods:

    - `forward(ctx, *inputs, **options)` gets the inputs as tensors (or None) and computes on their
      `.array`; it returns an array or a tuple of arrays.
    - `backward(ctx, *grads)` gets one gradient tensor per result (None where there is none) and returns one
      tensor per input (None where `ctx.needs` is False or the input has no gradient); a single one need
      not be in a tuple.

    A backward that only applies other differentiable operations to `grads`, `ctx.saved` and `ctx.outputs`
    can be differentiated again: such a class sets `twice_differentiable = True`.

    A class whose kernels take bfloat16 on CUDA devices sets `takes_bfloat16 = True`; the others get float32
    in its place there.
    """

    twice_differentiable = False
    takes_bfloat16 = False

    @staticmethod
    def forward(ctx: Node, *inputs: Any, **options: Any) -> Any:
        """Computes the results."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Node, *grads: Any) -> Any:
        """Computes the gradients of the inputs from those of the results."""
        raise NotImplementedError

    @classmethod
    def _as_taken(
        cls, tensors: tuple[Tensor | None, ...], options: dict[str, Any]
    ) -> tuple[Tensor | None, ...]:
        """The inputs in types that `forward` takes."""
        return tensors if cls.takes_bfloat16 else tuple(widened(x) for x in tensors)

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Runs `forward` on tensors (or arrays, which count as constants) and records it if needed."""
        tensors = cls._as_taken(_tensors(inputs), options)
        node = Node(cls, tensors)
        results = cls.forward(node, *tensors, **options)
        record = _state.enabled and True in node.needs
        arrays = results if isinstance(results, tuple) else (results,)
        if _state.recorder is not None:
            _state.recorder(cls, tensors, options, arrays)
        if record:
            node.results = [(array.shape, array.dtype) for array in arrays]
        wrapped = [
            _result(array, node, i) if record and array.dtype.kind == "f" else Tensor(array)
            for i, array in enumerate(arrays)
        ]
        return tuple(wrapped) if isinstance(results, tuple) else wrapped[0]


class Cast(Function):
    """Conversion to another element type."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, dtype: Any) -> _C.Array:
        """Keeps the type of x."""
        ctx.dtype = x.dtype
        return kernels.copy(x.array, dtype=dtype, channels_last=x.array.keeps_channels_last)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The gradient, converted back."""
        return Cast.apply(dy, dtype=ctx.dtype)


def widened(x: Any) -> Any:
    """A bfloat16 tensor of a CUDA device in float32; anything else as it is."""
    narrow = isinstance(x, Tensor) and x.is_bfloat16 and x.is_cuda
    return Cast.apply(x, dtype="float32") if narrow else x


def _like(grad: Tensor, dtype: Any) -> Tensor:
    """A gradient in the type of what it is the gradient of."""
    found = grad.array.dtype
    return grad if found is dtype or found == dtype else Cast.apply(grad, dtype=dtype)


def _add(a: Tensor | None, b: Tensor, create_graph: bool) -> Tensor:
    if a is None:
        return b
    if create_graph:
        from medkern import functional

        return functional.add(a, b)
    return Tensor(kernels.add(a.array, b.array))


def _initial_grad(root: Tensor, grad: Tensor | None) -> Tensor:
    if grad is None:
        if root.size != 1:
            raise ValueError(
                f"backward: a tensor of shape {root.shape} needs grad; only a single element does not"
            )
        return Tensor(kernels.full(root.shape, 1, root.dtype, device=root.device))
    if grad.shape != root.shape or grad.dtype != root.dtype:
        raise ValueError(
            f"backward: grad must have shape {root.shape} and dtype {root.dtype}, got {grad.shape} and "
            f"{grad.dtype}"
        )
    return grad


def _ways(roots: Sequence[Tensor], inputs: Sequence[Tensor]) -> dict[Node, tuple[bool, ...]]:
    """For each node below the roots, which of its inputs lead to one of these leaves."""
    wanted = {id(x) for x in inputs}
    nodes: set[Node] = set()
    found = [root._node for root in roots if root._node is not None]
    while found:
        node = found.pop()
        if node not in nodes:
            nodes.add(node)
            found += [edge[0] for edge in node.edges if isinstance(edge, tuple)]
    ways: dict[Node, tuple[bool, ...]] = {}
    for node in sorted(nodes, key=lambda node: node.sequence):  # what a node reads is older
        ways[node] = tuple(
            any(ways[edge[0]]) if isinstance(edge, tuple) else id(edge) in wanted for edge in node.edges
        )
    return ways


def _sweep(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    retain_graph: bool,
    create_graph: bool,
    ways: dict[Node, tuple[bool, ...]] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (leaf, gradient) as the reverse pass reaches leaves; those that `ways` lead to, or all."""
    waiting: list[tuple[int, Node]] = []  # a heap, the latest node first
    pending: dict[Node, list[Tensor | None]] = {}

    def send(edge: tuple[Node, int], grad: Tensor) -> None:
        node, index = edge
        if ways is not None and not any(ways[node]):
            return
        grad = _like(grad, node.results[index][1])
        if node not in pending:
            pending[node] = [None] * len(node.results)
            heapq.heappush(waiting, (-node.sequence, node))
        pending[node][index] = _add(pending[node][index], grad, create_graph)

    for root, grad in zip(roots, grads, strict=True):
        if not root.requires_grad:
            raise ValueError("backward: the tensor does not require a gradient")
        first = _initial_grad(root, grad)
        if root._node is None:
            yield root, first
        else:
            send((root._node, root._index), first)

    while waiting:
        _, node = heapq.heappop(waiting)
        if create_graph and not node.function.twice_differentiable:
            raise RuntimeError(
                f"{node.function.__name__} can be differentiated once only (create_graph=True)"
            )
        needs = node.needs
        if ways is not None:
            node.needs = ways[node]
        results = node.function.backward(node, *pending.pop(node))
        if not isinstance(results, tuple):
            results = (results,)
        edges = [edge if wanted else None for edge, wanted in zip(node.edges, node.needs, strict=True)]
        node.needs = needs
        if not (retain_graph or create_graph):
            node.release()
        for edge, grad in zip(edges, results, strict=True):
            if edge is None or grad is None:
                continue
            if isinstance(edge, tuple):
                send(edge, grad)
            else:
                yield edge, _like(grad, edge.dtype)


def backward(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Adds the gradient of `roots` to `.grad` of every leaf they were computed from.

    Args:
        roots: the tensors to differentiate.
        grads: for each root the gradient of the final result with respect to it, or None for 1.
        retain_graph: keep what is saved, so that backward can be called again.
        create_graph: record the gradients themselves, so that they can be differentiated.
    """
    with _grad_mode(create_graph):
        for leaf, grad in _sweep(roots, grads, retain_graph, create_graph):
            leaf.grad = _add(leaf.grad, grad, create_graph)


def grad(
    roots: Sequence[Tensor] | Tensor,
    inputs: Sequence[Tensor],
    grads: Sequence[Tensor | None] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> list[Tensor | None]:
    """The gradients of `roots` with respect to the leaves `inputs`, leaving every `.grad` alone.

    Nothing is computed for other leaves.

    Args:
        roots: the tensor or tensors to differentiate.
        inputs: leaf tensors with `requires_grad`.
        grads: as in `backward`; None means 1 for every root.
        retain_graph: as in `backward`.
        create_graph: as in `backward`.

    Returns:
        One gradient per input, None where a root does not depend on it.
    """
    roots = [roots] if isinstance(roots, Tensor) else list(roots)
    for x in inputs:
        if not (x.is_leaf and x.requires_grad):
            raise ValueError("grad: inputs must be leaf tensors that require a gradient")
    found: dict[int, Tensor] = {}
    with _grad_mode(create_graph):
        ways = _ways(roots, inputs)
        for leaf, leaf_grad in _sweep(roots, grads or [None] * len(roots), retain_graph, create_graph, ways):
            found[id(leaf)] = _add(found.get(id(leaf)), leaf_grad, create_graph)
    return [found.get(id(x)) for x in inputs]
