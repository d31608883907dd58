"""Models as safetensors (the weights) and JSON (what to build), never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medkern import models
from medkern.io.files import DataError, replacing, write_text
from medkern.nn import Module

_FORMAT = "medkern-model"
_VERSION = 1


def _paths(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """(weights, description) of a model named by either file or by its folder."""
    path = Path(path)
    if path.suffix not in (".safetensors", ".json"):
        path = path / "model.safetensors"
    return path.with_suffix(".safetensors"), path.with_suffix(".json")


def save_weights(model: Module, path: str | os.PathLike[str]) -> None:
    """Writes all parameters and buffers of `model` to a safetensors file, in one step."""
    from safetensors.numpy import save

    # The file holds plain C-contiguous arrays, whatever the memory format of the weights.
    tensors = {name: value.numpy().copy(order="C") for name, value in model.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors))


def load_weights(model: Module, path: str | os.PathLike[str]) -> None:
    """Reads what `save_weights` wrote into `model`, on whatever device that is.

    Raises:
        DataError: the file can't be read or its names or shapes are not those of the model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error


def save_model(
    model: Module, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes a model of `medkern.models` so that `load_model` can build it again.

    Args:
        model: the model.
        path: a folder, which gets `model.safetensors` and `model.json`, or a name that ends in
            `.safetensors`, which gets its JSON beside it.
        metadata: more to keep in the JSON file, such as the names of the classes.
    """
    weights, description = _paths(path)
    weights.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "model": models.config(model),
        "metadata": dict(metadata or {}),
    }
    write_text(description, json.dumps(document, indent=2) + "\n")
    save_weights(model, weights)


def load_model(path: str | os.PathLike[str]) -> tuple[Module, dict[str, Any]]:
    """Builds a saved model and reads its weights.

    Args:
        path: as given to `save_model`; also the JSON file.

    Returns:
        The model, in evaluation mode, and its metadata.

    Raises:
        DataError: a file is missing, can't be read, or doesn't describe a model of this version.
    """
    weights, description = _paths(path)
    for file in (description, weights):
        if not file.is_file():
            raise DataError(f"{file}: no such file; a model is a .safetensors and a .json file")
    try:
        document = json.loads(description.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{description}: not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise DataError(f"{description}: does not describe a medkern model")
    if document.get("version") != _VERSION:
        raise DataError(f"{description}: version must be {_VERSION}, got {document.get('version')!r}")
    try:
        model = models.build(document.get("model", {}))
    except (ValueError, TypeError, KeyError, MemoryError) as error:
        raise DataError(f"{description}: {' '.join(str(error).split())}") from error
    load_weights(model, weights)
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        raise DataError(f"{description}: metadata must be an object")
    return model.eval(), metadata
