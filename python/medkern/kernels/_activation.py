"""The names of fused activations."""

from __future__ import annotations

ACTIVATIONS = {None: 0, "relu": 1}


def activation_number(op: str, activation: str | None) -> int:
    """The C API's number of an activation.

    Args:
        op: the operation, for the message.
        activation: None or "relu".

    Raises:
        ValueError: there is no such activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"{op}: activation must be None or 'relu', got {activation!r}")
    return ACTIVATIONS[activation]
