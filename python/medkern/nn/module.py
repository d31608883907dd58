"""`Module`: parameters, buffers and submodules under the names of their attributes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from medkern import _C
from medkern.devices import is_device
from medkern.nn.summary import Summary, summarize
from medkern.tensor import ArrayLike, Tensor, tensor, zeros

Self = TypeVar("Self", bound="Module")


class Parameter(Tensor):
    """A tensor that a module learns.

    Args:
        data: a tensor, whose memory is shared, or anything `medkern.tensor` takes, which is copied.
        requires_grad: whether gradients flow to it.
    """

    __slots__ = ()

    def __init__(self, data: ArrayLike, requires_grad: bool = True):
        source = data if isinstance(data, Tensor) else tensor(data)
        if requires_grad and source.dtype.kind != "f":
            raise TypeError(f"Parameter: only float tensors can require a gradient, got {source.dtype}")
        super().__init__(source.array, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class LoadResult(NamedTuple):
    """What `load_state_dict` left alone."""

    missing: list[str]
    unexpected: list[str]


class Module:
    """The base of all layers and models.

    Whatever a module assigns to its attributes is found there: `Parameter`s are its parameters, `Module`s its
    submodules; tensors that belong to its state but aren't learnt go through `register_buffer`. Names in
    `state_dict` are paths of attributes, such as "encoder.0.weight". A subclass defines `forward`.

    Attributes:
        training: whether layers that differ between the two (dropout, batch norm) are in training mode.

    Example:
        >>> class Head(medkern.nn.Module):
        ...     def __init__(self, features):
        ...         super().__init__()
        ...         self.linear = medkern.nn.Linear(features, 2)
        ...
        ...     def forward(self, x):
        ...         return medkern.functional.relu(self.linear(x))
        >>> [name for name, _ in Head(3).named_parameters()]
        ['linear.weight', 'linear.bias']
    """

    training: bool = True
    _buffer_names: tuple[str, ...] = ()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Computes the result; defined by each subclass."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Runs `forward`."""
        return self.forward(*inputs, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor) and not isinstance(value, Parameter):
            before = vars(self).get(name)
            if isinstance(before, Parameter):
                raise TypeError(f"{type(self).__name__}.{name} is a Parameter, got a plain Tensor")
        super().__setattr__(name, value)

    def register_buffer(self, name: str, value: Tensor | None) -> None:
        """Makes `value` the attribute `name`, saved with the parameters but not learnt.

        Args:
            name: name of the attribute.
            value: a tensor, or None for a buffer this module does without.
        """
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"register_buffer: value must be a Tensor or None, got {type(value).__name__}")
        if name not in self._buffer_names:
            if hasattr(self, name):
                raise ValueError(f"register_buffer: {type(self).__name__} already has an attribute {name!r}")
            self._buffer_names = (*self._buffer_names, name)
        setattr(self, name, value)

    # Walking the tree.

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules, by name."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        for _, child in self.named_children():
            yield child

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module, as "", and all below it, by path; a module in two places comes once."""
        seen: set[int] = set()
        for path, module in self._paths(""):
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters here and below, by path; one that is shared comes once."""
        seen: set[int] = set()
        for name, value in self._state():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """All parameters here and below."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """All buffers here and below, by path."""
        seen: set[int] = set()
        for name, value in self._state():
            if not isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def buffers(self) -> Iterator[Tensor]:
        """All buffers here and below."""
        for _, buffer in self.named_buffers():
            yield buffer

    def _paths(self, path: str) -> Iterator[tuple[str, Module]]:
        yield path, self
        for name, child in self.named_children():
            yield from child._paths(f"{path}.{name}" if path else name)

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer under every path that leads to it."""
        for path, module in self._paths(""):
            for name, value in vars(module).items():
                if isinstance(value, Parameter) or (
                    isinstance(value, Tensor) and name in module._buffer_names
                ):
                    yield f"{path}.{name}" if path else name, value

    # Saving and loading.

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by path.

        The tensors share the module's memory: copy them to keep them through further training.
        """
        return {name: value.detach() for name, value in self._state()}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> LoadResult:
        """Copies the values of `state` into the parameters and buffers of the same names.

        Args:
            state: tensors or arrays by path, as `state_dict` gives them.
            strict: whether every name must be present on both sides.

        Returns:
            The names that had no value and the values that had no name; both empty if `strict`.

        Raises:
            ValueError: names or shapes don't fit; every one is listed and nothing was changed.
        """
        own = dict(self._state())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        new = {
            name: value.numpy() if isinstance(value, Tensor) else np.asarray(value)
            for name, value in state.items()
            if name in own
        }
        problems = []
        if strict:
            problems += [f"missing {name} {own[name].shape}" for name in missing]
            problems += [f"unexpected {name} {tuple(np.shape(state[name]))}" for name in unexpected]
        for name, value in new.items():
            if value.shape != own[name].shape:
                problems.append(f"{name} must have shape {own[name].shape}, got {value.shape}")
            elif not np.can_cast(value.dtype, own[name].dtype, casting="same_kind"):
                problems.append(f"{name} must have dtype {own[name].dtype}, got {value.dtype}")
        if problems:
            raise ValueError(f"load_state_dict: {type(self).__name__}: " + "; ".join(problems))
        for name, value in new.items():
            own[name].copy_(value)
        return LoadResult(missing, unexpected)

    # Changing all of it at once.

    def train(self: Self, mode: bool = True) -> Self:
        """Sets training mode (or evaluation mode) here and below."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Sets evaluation mode here and below."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Drops the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Sets whether gradients flow to the parameters."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def apply(self: Self, function: Callable[[Module], Any]) -> Self:
        """Calls `function` on every module, submodules first, this one last."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def to(self: Self, *targets: Any, dtype: Any = None, device: Any = None) -> Self:
        """Moves all parameters, buffers and gradients to a device, or turns the floats into another type.

        Args:
            targets: a device ("cpu", "cuda", "cuda:1", ...), float32 or float64, or one of each.
            dtype: float32 or float64 by name.
            device: the device by name.

        Returns:
            This module.

        Raises:
            TypeError: a type is neither.
            DeviceError: there is no such device; nothing was changed.

        Example:
            >>> net = medkern.nn.Linear(2, 1).to("cpu")
        """
        for target in (*targets, *(named for named in (device, dtype) if named is not None)):
            if is_device(target):
                self._convert(functools.partial(_C.Array.to, device=target))
                continue
            wanted = _C.dtype(target)
            if wanted not in (np.float32, np.float64):
                raise TypeError(f"to: dtype must be float32 or float64, got {wanted}")
            self._convert(functools.partial(_as_float, dtype=wanted))
        return self

    def cuda(self: Self, device: Any = "cuda") -> Self:
        """Moves all of it to a CUDA device; see `to`."""
        return self.to(device)

    def cpu(self: Self) -> Self:
        """Moves all of it to the CPU; see `to`."""
        return self.to("cpu")

    def _convert(self, change: Callable[[_C.Array], _C.Array]) -> None:
        """Puts `change(array)` in place of every parameter, buffer and gradient; all or none."""
        tensors = {id(value): value for _, value in self._state()}.values()
        new = [(x, change(x.array), None if x.grad is None else change(x.grad.array)) for x in tensors]
        for x, array, grad in new:
            if array.dtype != x.dtype or array.device != x.device:
                x.array = array
                x._version += 1
                x.grad = None if grad is None else Tensor(grad)

    def summary(self, *inputs: ArrayLike) -> Summary:
        """What this model is made of and what a prediction costs, layer by layer; nothing is computed.

        Parameters and results are counted as they are in memory (indices of max pooling included). Flops are
        multiplications and additions, each as one: 2 K per output of a convolution or product with K terms,
        bias included; K per output of a pooling of K elements; 2 per element of a batch norm, whose
        statistics are known, 6 of other norms; 3 of softmax; 1 of anything else that computes. Other
        algorithms, such as Winograd's, need fewer.

        Args:
            inputs: tensors or arrays as `forward` takes them, of which only shape and type count, or shapes
                of float32 tensors, as tuples.

        Returns:
            A table as a string; its `layers` and totals as attributes, and all of it as a dict for JSON by
            `as_dict()`.

        Raises:
            ValueError: the model refuses the shapes, or reads values of tensors.

        Example:
            >>> net = medkern.nn.Sequential(medkern.nn.Linear(4, 8), medkern.nn.ReLU())
            >>> print(net.summary((1, 4)))
            Sequential of (1, 4)
            layer  kind    output  parameters  flops  memory
            ------------------------------------------------
            0      Linear  (1, 8)          40     64    32 B
            1      ReLU    (1, 8)           0      8    32 B
            ------------------------------------------------
            parameters  40 (40 trainable, 0 frozen), 0 in buffers, 160 B
            flops       72
            memory      64 B of results of layers
        """
        device = device_of(self)
        return summarize(
            self,
            [
                zeros(x, device=device)
                if isinstance(x, tuple)
                else x
                if isinstance(x, Tensor)
                else tensor(x, device=device)
                for x in inputs
            ],
        )

    def extra_repr(self) -> str:
        """The arguments shown by `repr`; defined by subclasses that have any."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}({extra}", *lines]) + "\n)"


def device_of(module: Module) -> str | None:
    """Where a module's parameters and buffers are; None if it has none."""
    first = next(itertools.chain(module.parameters(), module.buffers()), None)
    return None if first is None else first.device


def _as_float(array: _C.Array, dtype: np.dtype) -> _C.Array:
    """A float array in another float type; others as they are."""
    if array.dtype.kind != "f" or array.dtype == dtype:
        return array
    return _C.copy(array, dtype, array.keeps_channels_last, None)
