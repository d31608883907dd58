"""PNG and TIFF images, by Pillow."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medkern.extras import optional_import
from medkern.io.files import DataError, check_size, replacing

IMAGE_SUFFIXES = (".png", ".tif", ".tiff")
_GRAY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The file as a Pillow image, its size checked; whatever goes wrong is a DataError."""
    pillow = optional_import("PIL.Image", "io")
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a decompression bomb up to twice its limit; here that is an error.
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(path, formats=["PNG", "TIFF"]) as image:
                check_size(path, (image.height, image.width, len(image.getbands())))
                if getattr(image, "n_frames", 1) != 1:
                    raise DataError(f"{path}: holds {image.n_frames} pages; only single images are read")
                yield image
    except (DataError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: can't be read as PNG or TIFF: {reason}") from error


def image_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(H, W) from the header alone."""
    with _opened(path) as image:
        return image.height, image.width


def check_image(path: str | os.PathLike[str]) -> None:
    """Finds a file that is damaged or cut off without decoding its pixels.

    The checksums of a PNG are computed; the pixels of a TIFF must lie within the file.

    Raises:
        DataError: as `read_image`.
    """
    with _opened(path) as image:
        if image.format == "PNG":
            image.verify()
            return
        tags = image.tag_v2
        for offsets, sizes in ((273, 279), (324, 325)):  # of strips, of tiles
            ends = [a + b for a, b in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)]
            if max(ends, default=0) > os.path.getsize(path):
                raise DataError(f"{path}: can't be read as PNG or TIFF: is cut off")


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """The picture as float32 (C, H, W): one channel for grayscale, three for color; alpha is dropped.

    Raises:
        DataError: the file is not a readable PNG or TIFF, or too large.
    """
    with _opened(path) as image:
        if image.mode not in _GRAY:
            gray = image.mode in ("LA", "La")
            image = image.convert("L" if gray else "RGB")
        values = np.asarray(image, dtype=np.float32)
    values = values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds values that are not finite")
    return values


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """The label of every pixel, int64 (H, W). Palette images give the index, not the color.

    Raises:
        DataError: as `read_image`, or the file has more than one channel or broken values.
    """
    with _opened(path) as image:
        if image.mode not in (*_GRAY, "P"):
            raise DataError(f"{path}: a mask must have one channel, got mode {image.mode}")
        return as_labels(path, np.asarray(image))


def as_labels(path: str | os.PathLike[str], values: np.ndarray) -> np.ndarray:
    """`values` as int64 labels; DataError where they are not whole numbers."""
    if values.dtype.kind == "f" and not np.all(np.isfinite(values) & (values == np.rint(values))):
        raise DataError(f"{path}: a mask must hold whole numbers")
    if values.dtype.kind == "f" and np.abs(values).max(initial=0) > 2**31:
        raise DataError(f"{path}: a mask must hold labels below 2**31")
    return values.astype(np.int64)


def write_mask(path: str | os.PathLike[str], labels: np.ndarray) -> None:
    """Writes labels (H, W) from 0 to 65535 as a grayscale PNG or TIFF of 8 or 16 bits.

    Raises:
        ValueError: the labels or the suffix don't fit.
    """
    pillow = optional_import("PIL.Image", "io")
    suffix = Path(path).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ValueError(f"write_mask: path must end in {', '.join(IMAGE_SUFFIXES)}, got {path}")
    if labels.ndim != 2:
        raise ValueError(f"write_mask: labels must have 2 dimensions, got {labels.ndim}: {labels.shape}")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > 65535:
        raise ValueError(f"write_mask: labels must be from 0 to 65535, got {low if low < 0 else high}")
    image = pillow.fromarray(np.ascontiguousarray(labels, np.uint8 if high <= 255 else np.uint16))
    with replacing(path) as temporary:
        image.save(temporary, format="PNG" if suffix == ".png" else "TIFF")
