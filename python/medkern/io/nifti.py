"""NIfTI volumes, by nibabel."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from medkern.extras import optional_import
from medkern.io.files import DataError, check_size, replacing
from medkern.io.image import as_labels

NIFTI_SUFFIXES = (".nii", ".nii.gz")
_MOST_DEFLATE_SAVES = 1032  # deflate makes nothing smaller than this many times


def _open(path: str | os.PathLike[str]) -> Any:
    """The nibabel image, of which only the header has been read; its size is checked."""
    nibabel = optional_import("nibabel", "io")
    try:
        image = nibabel.load(os.fspath(path))
        if not isinstance(image, nibabel.Nifti1Image):  # Nifti2Image is a subclass
            raise DataError(f"{path}: not a NIfTI file")
        shape = image.shape
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3:
            raise DataError(f"{path}: a volume must have 3 dimensions, got {len(shape)}: {shape}")
        check_size(path, shape)
        if image.get_data_dtype().kind not in "iufb":
            raise DataError(f"{path}: voxels must be real numbers, got {image.get_data_dtype()}")
        _check_bytes(path, image.dataobj.offset, shape, image.get_data_dtype())
        return image
    except (DataError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # nibabel raises many kinds
        raise DataError(f"{path}: can't be read as NIfTI: {_one_line(error)}") from error


def _check_bytes(path: Any, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuses a header that promises more than the file can hold, before memory is asked for."""
    needed = int(offset) + int(np.prod(shape, dtype=object)) * dtype.itemsize
    packed = Path(path).suffix == ".gz"
    held = os.path.getsize(path) * (_MOST_DEFLATE_SAVES if packed else 1)
    if held < needed or (packed and not _unpacks_to(path, needed)):
        raise DataError(f"{path}: its header says {shape} {dtype}, but the file is too short for that")


def _unpacks_to(path: Any, size: int) -> bool:
    """Whether a gzip file holds so many bytes, by its last four, which mostly tell, else by reading it."""
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(), "little") == size % 2**32:
            return True
    # Several parts, something behind the voxels, or cut off.
    try:
        with gzip.open(path) as file:
            while size > 0 and (part := file.read(min(size, 1 << 20))):
                size -= len(part)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    return size <= 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _values(path: str | os.PathLike[str], image: Any, dtype: Any = None) -> np.ndarray:
    shape = image.shape[:3]
    try:
        return np.asarray(image.dataobj, dtype=dtype).reshape(shape)
    except MemoryError:
        raise
    except Exception as error:  # truncated or damaged data
        raise DataError(f"{path}: can't be read as NIfTI: {_one_line(error)}") from error


def nifti_shape(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """The three sizes from the header alone."""
    return _open(path).shape[:3]


def read_nifti(path: str | os.PathLike[str]) -> np.ndarray:
    """The voxels as float32 (X, Y, Z), scaled as the header says.

    Raises:
        DataError: the file is not a readable NIfTI volume, or too large, or holds NaN or infinity.
    """
    values = _values(path, _open(path), np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds values that are not finite")
    return values


def read_nifti_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """The label of every voxel, int64 (X, Y, Z)."""
    return as_labels(path, _values(path, _open(path)))


def write_nifti_mask(path: str | os.PathLike[str], labels: np.ndarray, like: str | os.PathLike[str]) -> None:
    """Writes labels (X, Y, Z), with the position and orientation in space of the volume `like`."""
    nibabel = optional_import("nibabel", "io")
    source = _open(like)
    if labels.shape != source.shape[:3]:
        raise ValueError(
            f"write_nifti_mask: labels must have the shape of {like}, {source.shape[:3]}, got {labels.shape}"
        )
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    dtype = next((t for t in (np.uint8, np.int16, np.int32) if _holds(t, low, high)), None)
    if dtype is None:
        raise ValueError(f"write_nifti_mask: labels must fit 32 bits, got {low} to {high}")
    header = source.header.copy()
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    image = type(source)(labels.astype(dtype), source.affine, header)
    path = Path(path)
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else ".nii"
    with replacing(path) as temporary:
        # nibabel chooses compression by the name.
        named = temporary.with_name(temporary.name + suffix)
        try:
            nibabel.save(image, named)
            os.replace(named, temporary)
        finally:
            named.unlink(missing_ok=True)


def _holds(dtype: Any, low: int, high: int) -> bool:
    return np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
