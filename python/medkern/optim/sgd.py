"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.optim.optimizer import Optimizer, Parameters, zeros_like


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

        g = grad + weight_decay p
        b = momentum b + (1 - dampening) g        (b = g in the first step)
        d = g + momentum b if nesterov else b     (d = g without momentum)
        p = p - lr d

    Args:
        params: parameters, or dicts of parameters and options.
        lr: learning rate.
        momentum: the share of b kept.
        dampening: of the gradient in b.
        weight_decay: factor of the penalty on p.
        nesterov: whether to look ahead; needs a momentum and no dampening.

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> net = medkern.nn.Linear(2, 1)
        >>> optimizer = medkern.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )

    def _check(self, group: dict[str, Any]) -> None:
        self._expect(group, "lr", "momentum", "dampening", "weight_decay")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and a dampening of 0, got {group['momentum']} and "
                f"{group['dampening']}"
            )

    def _update(
        self,
        params: list[_C.Array],
        grads: list[_C.Array],
        states: list[dict[str, Any]],
        group: dict[str, Any],
        rounded: list[_C.Array | None] | None,
    ) -> None:
        dampening = group["dampening"]
        if group["momentum"] != 0 and "momentum_buffer" not in states[0]:
            for p, state in zip(params, states, strict=True):
                state["momentum_buffer"] = zeros_like(p)
            dampening = 0.0  # the first b is g itself
        has_buffers = "momentum_buffer" in states[0]
        kernels.sgd_steps(
            params,
            grads,
            [state["momentum_buffer"] for state in states] if has_buffers else None,
            group["lr"],
            group["momentum"],
            dampening,
            group["weight_decay"],
            group["nesterov"],
            rounded,
        )
