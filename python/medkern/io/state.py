"""Nested dicts, lists, numbers, strings and arrays in one safetensors file, written in one step.

The arrays are the file's tensors, named t0, t1, ...; the rest is JSON in the file's header, where
{"$tensor": "t0"} stands for an array. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from medkern.io.files import DataError, replacing
from medkern.tensor import Tensor

_KEY = "medkern"
_MARK = "$tensor"


def save_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Writes `state`; a reader finds the file that was there before or the whole new one.

    Args:
        path: the file.
        state: dicts with string or int keys (read back as strings), lists, tuples (read back as lists),
            numbers, strings, None, arrays and tensors.

    Raises:
        TypeError: something else is in it.
    """
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    document = json.dumps(_pack(state, tensors))
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: document})


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `save_state` wrote; arrays come back as NumPy arrays.

    Raises:
        DataError: the file can't be read or is of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            document = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if document is None:
            raise DataError(f"{path}: not a checkpoint of medkern")
        return _unpack(json.loads(document), tensors)
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: can't be read as a checkpoint: {error}") from error


def _pack(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(value, Tensor):
        value = value.numpy()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        name = f"t{len(tensors)}"
        tensors[name] = np.ascontiguousarray(value).reshape(value.shape)
        return {_MARK: name}
    if isinstance(value, dict):
        if not all(type(key) in (str, int) for key in value) or _MARK in value:
            raise TypeError(f"save_state: keys must be strings or ints, got {list(value)[:4]}")
        return {str(key): _pack(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, tensors) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"save_state: can't write a {type(value).__name__}")


def _unpack(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_MARK}:
            return tensors[value[_MARK]]
        return {key: _unpack(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
