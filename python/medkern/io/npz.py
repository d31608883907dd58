"""`.npz` files: several arrays under names, as NumPy and MedMNIST write them. Nothing is unpickled."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
from typing import IO, Any

import numpy as np

from medkern.io.files import MAX_ELEMENTS, DataError

_SUFFIX = ".npy"
_MAX_ARRAYS = 256


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads all arrays of a `.npz` file.

    Args:
        path: the file.

    Returns:
        The arrays by name.

    Raises:
        DataError: the file can't be read, holds something else than plain arrays of numbers or booleans, or
            one of more than 2^28 elements.

    Example:
        >>> arrays = read_npz("pneumoniamnist.npz")
        >>> arrays["train_images"].shape
        (4708, 28, 28)
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MAX_ARRAYS:
                raise DataError(f"{path}: holds {len(members)} arrays, at most {_MAX_ARRAYS} are read")
            return {
                member.filename.removesuffix(_SUFFIX): _read_array(path, archive, member)
                for member in members
            }
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{path}: can't be read as .npz: {' '.join(str(error).split())}") from error


def _read_array(
    path: str | os.PathLike[str], archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> np.ndarray:
    with archive.open(member) as file:
        try:
            shape, order, dtype = _read_header(file)
        except (ValueError, SyntaxError, tokenize.TokenError) as error:
            raise DataError(
                f"{path}: {member.filename} is no array: {' '.join(str(error).split())}"
            ) from error
        if dtype.kind not in "biuf":
            raise DataError(f"{path}: {member.filename} must hold numbers or booleans, got {dtype}")
        count = math.prod(shape)
        if count > MAX_ELEMENTS:
            raise DataError(f"{path}: {member.filename} says {shape}, more than {MAX_ELEMENTS} elements")
        data = file.read(count * dtype.itemsize + 1)
    if len(data) != count * dtype.itemsize:
        raise DataError(f"{path}: {member.filename} doesn't hold the {shape} elements it says")
    array = np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if order else "C")
    return np.ascontiguousarray(array).reshape(shape)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and type."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"unknown version {version}")
