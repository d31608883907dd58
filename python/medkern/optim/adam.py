"""Adam and AdamW."""

from __future__ import annotations

from typing import Any, ClassVar

from medkern import _C, kernels
from medkern.optim.optimizer import Optimizer, Parameters, zeros_like


class Adam(Optimizer):
    """Adam; Kingma and Ba, 2015.

        g = grad + weight_decay p
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps),   t = 1, 2, ...

    Args:
        params: parameters, or dicts of parameters and options.
        lr: learning rate.
        betas: the shares of m and v kept.
        eps: keeps the division finite.
        weight_decay: factor of the penalty on p.

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> net = medkern.nn.Linear(2, 1)
        >>> optimizer = medkern.optim.Adam(net.parameters(), lr=1e-3)
    """

    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def _check(self, group: dict[str, Any]) -> None:
        self._expect(group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas must be two numbers in [0, 1), got {betas}")

    def _update(
        self,
        params: list[_C.Array],
        grads: list[_C.Array],
        states: list[dict[str, Any]],
        group: dict[str, Any],
        rounded: list[_C.Array | None] | None,
    ) -> None:
        for p, state in zip(params, states, strict=True):
            if not state:
                state.update(step=0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
            state["step"] += 1
        beta1, beta2 = group["betas"]
        kernels.adam_steps(
            params,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            states[0]["step"],
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            self.decoupled,
            rounded,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay; Loshchilov and Hutter, 2019.

    As `Adam`, but g = grad, and p = p - lr weight_decay p comes first.

    Args:
        params: parameters, or dicts of parameters and options.
        lr: learning rate.
        betas: the shares of m and v kept.
        eps: keeps the division finite.
        weight_decay: the decay per step and unit of learning rate.

    Raises:
        ValueError: an option is out of range.
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)
