"""Packages that only some uses of medkern need."""

from __future__ import annotations

import importlib
from typing import Any


def optional_import(module: str, extra: str) -> Any:
    """Imports a package that only some uses of medkern need.

    Args:
        module: what to import.
        extra: the extra of medkern that brings it.

    Raises:
        ModuleNotFoundError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ModuleNotFoundError(
            f"{package} is not installed; install it with: pip install 'medkern[{extra}]'", name=package
        ) from None
