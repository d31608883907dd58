"""`Optimizer`: groups of parameters with their options, and the state of each parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from medkern import _C, kernels
from medkern.tensor import Tensor

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer:
    """The base of all optimizers; a subclass checks its options and updates parameters, those alike at once.

    Args:
        params: parameters, or dicts with "params" and options that differ from the defaults.
        defaults: the options of every group that doesn't give its own.

    Attributes:
        param_groups: dicts with "params", a list, and every option; schedules write "lr" here.

    Raises:
        ValueError: there are no parameters, one comes twice, or an option is unknown or out of range.
        TypeError: a parameter is not a leaf tensor.
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._state: dict[int, dict[str, Any]] = {}  # by id of the parameter
        given: list[Any] = [params] if isinstance(params, Mapping) else list(params)
        if not given:
            raise ValueError(f"{type(self).__name__}: params must hold at least one parameter, got none")
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters with options of their own.

        Args:
            group: "params" and any of the options; the defaults hold for the others.
        """
        name = type(self).__name__
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown or "params" not in group:
            raise ValueError(
                f"{name}: a group must have params and may have {sorted(self.defaults)}, got {sorted(group)}"
            )
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        seen = {id(p) for existing in self.param_groups for p in existing["params"]}
        for p in params:
            if not isinstance(p, Tensor) or not p.is_leaf:
                kind = "a computed Tensor" if isinstance(p, Tensor) else type(p).__name__
                raise TypeError(f"{name}: params must hold leaf tensors, got {kind}")
            if id(p) in seen:
                raise ValueError(f"{name}: params holds a parameter of shape {p.shape} twice")
            seen.add(id(p))
        complete = {**self.defaults, **group, "params": params}
        self._check(complete)
        self.param_groups.append(complete)

    def zero_grad(self) -> None:
        """Drops the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        for group in self.param_groups:
            alike: dict[Any, list[tuple[Tensor, Tensor, dict[str, Any]]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    state = self._state.setdefault(id(p), {})
                    _follow(p, state)
                    key = p.device, p.dtype, state.get("step"), tuple(state)
                    alike.setdefault(key, []).append((p, p.grad, state))
            for (device, *_), members in alike.items():
                params, grads, states = zip(*members, strict=True)
                # What layers use in bfloat16 follows, instead of being converted again.
                rounded = None if device == "cpu" else [_in_bfloat16(p) for p in params]
                arrays = [p.array for p in params]
                self._update(arrays, [grad.array for grad in grads], list(states), group, rounded)
                for p in params:
                    p._version += 1
                for p, narrow in zip(params, rounded or (), strict=False):
                    if narrow is not None:
                        p._bfloat16 = p.array, p._version, narrow

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on exactly: numbers and NumPy arrays only.

        On the CPU the arrays share the optimizer's memory: copy them to keep them through further steps.

        Returns:
            "state": for each parameter, by its position among all, a dict; "param_groups": the options of
            each group, with the positions of its parameters as "params".
        """
        positions = {id(p): i for i, p in enumerate(self._parameters())}
        state = {
            positions[key]: {
                name: value.numpy() if isinstance(value, _C.Array) else value
                for name, value in values.items()
            }
            for key, values in self._state.items()
        }
        groups = [
            {**group, "params": [positions[id(p)] for p in group["params"]]} for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state that `state_dict` gave.

        Args:
            state_dict: the state of an optimizer of the same class over parameters of the same shapes.

        Raises:
            ValueError: groups or shapes differ; nothing was changed.
        """
        name = type(self).__name__
        groups = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in groups]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise ValueError(f"{name}.load_state_dict: groups must hold {own_sizes} parameters, got {sizes}")
        for group in groups:
            if set(group) - {"initial_lr"} != {*self.defaults, "params"}:
                raise ValueError(
                    f"{name}.load_state_dict: a group must have the options {sorted(self.defaults)}, "
                    f"got {sorted(set(group) - {'params'})}"
                )
        params = self._parameters()
        state: dict[int, dict[str, Any]] = {}
        for position, values in state_dict["state"].items():
            if not 0 <= int(position) < len(params):
                raise ValueError(f"{name}.load_state_dict: state of parameter {position}, of {len(params)}")
            p = params[int(position)]
            state[id(p)] = {key: self._restored(p, key, value) for key, value in values.items()}
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update({key: value for key, value in group.items() if key != "params"})
        self._state = state

    def _restored(self, p: Tensor, key: str, value: Any) -> Any:
        if not np.ndim(value):
            return value.item() if hasattr(value, "item") else value
        if np.shape(value) != p.shape:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: {key} must have shape {p.shape}, "
                f"got {np.shape(value)}"
            )
        return Tensor(zeros_like(p.array)).copy_(value).array

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _check(self, group: dict[str, Any]) -> None:
        """Raises if an option is out of range."""
        raise NotImplementedError

    def _update(
        self,
        params: list[_C.Array],
        grads: list[_C.Array],
        states: list[dict[str, Any]],
        group: dict[str, Any],
        rounded: list[_C.Array | None] | None,
    ) -> None:
        """Moves parameters of one device, dtype and number of steps in place; all have the same state.

        What there is of `rounded` gets the new values in bfloat16.
        """
        raise NotImplementedError

    def _expect(self, group: dict[str, Any], *names: str) -> None:
        """Raises unless these options are finite and not negative."""
        for name in names:
            if not 0 <= group[name] < float("inf"):
                raise ValueError(f"{type(self).__name__}: {name} must be at least 0, got {group[name]}")

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])


def zeros_like(p: _C.Array) -> _C.Array:
    """Zeros in the shape, type and memory format of a parameter, on its device."""
    return kernels.full(p.shape, 0, p.dtype, channels_last=p.keeps_channels_last, device=p.device)


def _follow(p: Tensor, state: dict[str, Any]) -> None:
    """Moves the state of a parameter to where that is now."""
    for name, value in state.items():
        if isinstance(value, _C.Array) and value.device != p.device:
            state[name] = value.to(p.device)


def _in_bfloat16(p: Tensor) -> _C.Array | None:
    """What layers keep of a parameter, if they do."""
    return p._bfloat16[2] if p._bfloat16 is not None and p._bfloat16[0] is p.array else None
