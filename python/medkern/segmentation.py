"""`Segmenter`: a trained network with all it needs to label a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medkern.data.folder import is_volume, read_slices, split_name
from medkern.data.transforms import fit, round_up
from medkern.inference import Predictor
from medkern.io.files import DataError
from medkern.io.image import write_mask
from medkern.io.nifti import write_nifti_mask
from medkern.io.weights import load_model, save_model
from medkern.metrics import predicted_classes
from medkern.nn import Module


@dataclass
class Segmenter:
    """A 2-D segmentation network and what its classes mean.

    Attributes:
        model: maps normalized slices (N, C, H, W) to scores (N, classes, H, W).
        classes: a name per class.
        labels: the label that stands for each class in masks.
        channels: C.
        multiple: what H and W must be a multiple of; images are filled up to it and cropped back.
    """

    model: Module
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    channels: int
    multiple: int

    def __post_init__(self) -> None:
        self._predictor = Predictor(self.model)

    def to(self, device: str, precision: str | None = None) -> Segmenter:
        """Moves the model to a device, to predict there as `medkern.compile` says; gives this segmenter."""
        self.model.to(device)
        self._predictor = Predictor(self.model, precision)
        return self

    def predict(self, x: np.ndarray, batch_size: int = 4) -> np.ndarray:
        """The class of every pixel of normalized slices.

        Args:
            x: float32 (S, C, H, W).
            batch_size: how many slices at a time; it does not change the result.

        Returns:
            int64 (S, H, W).
        """
        size = x.shape[2:]
        padded = tuple(round_up(n, self.multiple) for n in size)
        result = np.empty((len(x), *size), np.int64)
        for first in range(0, len(x), batch_size):
            part = slice(first, first + batch_size)
            output = self._predictor(fit(x[part], padded)).numpy()
            result[part] = fit(predicted_classes(output), size)
        return result

    def predict_file(self, source: Path, destination: Path) -> np.ndarray:
        """Labels the image or volume `source` and writes the mask `destination`.

        Returns:
            The labels: (H, W) of an image, (X, Y, Z) of a volume.

        Raises:
            DataError: the file can't be read or has other channels than the model expects.
        """
        check_destination(source, destination)
        x = read_slices(source)
        if x.shape[1] != self.channels:
            raise DataError(f"{source}: has {x.shape[1]} channels, the model expects {self.channels}")
        found = np.asarray(self.labels)[self.predict(x)]
        if is_volume(source):
            found = found.transpose(1, 2, 0)
            write_nifti_mask(destination, found, source)
            return found
        write_mask(destination, found[0])
        return found[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes model and description; see `medkern.io.weights.save_model`."""
        save_model(self.model, path, self.metadata())

    def metadata(self) -> dict[str, Any]:
        """What the description keeps beside the model."""
        return {
            "task": "segmentation",
            "classes": list(self.classes),
            "labels": list(self.labels),
            "channels": self.channels,
            "multiple": self.multiple,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Segmenter:
        """Reads what `save` wrote.

        Raises:
            DataError: a file is missing, damaged or does not describe a segmentation model.
        """
        model, data = load_model(path)
        classes: Any = data.get("classes")
        labels: Any = data.get("labels")
        channels: Any = data.get("channels")
        multiple: Any = data.get("multiple")
        valid = (
            data.get("task") == "segmentation"
            and _list_of(classes, str)
            and _list_of(labels, int)
            and len(classes) == len(labels) >= 2
            and type(channels) is int
            and type(multiple) is int
            and channels >= 1
            and 1 <= multiple <= 1024
        )
        if not valid:
            raise DataError(f"{path}: its metadata does not describe a segmentation model")
        return cls(model, tuple(classes), tuple(labels), channels, multiple)


def check_destination(source: Path, destination: Path) -> None:
    """Refuses a mask that would overwrite its image or be of another kind."""
    if not split_name(destination)[1]:
        raise DataError(f"{destination}: its name must end like that of an image")
    if is_volume(source) != is_volume(destination):
        raise DataError(f"{destination}: a NIfTI volume gives a NIfTI mask and an image a PNG or TIFF")
    if destination.exists() and destination.samefile(source):
        raise DataError(f"{destination}: would overwrite the image itself")


def _list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)
