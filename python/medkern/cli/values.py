"""Types of arguments that say what is wrong with a value."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from medkern import _C
from medkern.kernels._precision import BY_TYPE


def integer(low: int, high: int) -> Callable[[str], int]:
    """An int from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, got {value}")
        return value

    return parse


def number(above: float, below: float) -> Callable[[str], float]:
    """A float between `above` and `below`, both excluded."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
        if not above < value < below:
            raise argparse.ArgumentTypeError(f"must be between {above:g} and {below:g}, got {text}")
        return value

    return parse


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option that says where to compute."""
    parser.add_argument(
        "--device",
        type=_device,
        default="cpu",
        help="where to compute: cpu, cuda, cuda:1, ... (default: %(default)s)",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """The option that says how exactly a GPU multiplies."""
    parser.add_argument(
        "--precision",
        choices=list(BY_TYPE),
        default="float32",
        help="of matrix products and convolutions on a GPU (default: %(default)s)",
    )


def _device(text: str) -> str:
    try:
        return _C.device_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
