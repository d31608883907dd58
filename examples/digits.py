"""Ten classes of 28x28 images: three convolutions and two linear layers; see docs/examples/digits.md.

    python examples/digits.py                       # scikit-learn's digits, enlarged
    python examples/digits.py --data breastmnist.npz  # a data set of MedMNIST

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import medkern
from medkern import losses, metrics, models, optim
from medkern.callbacks import BestWeights
from medkern.data import ArrayDataset, Augment, DataLoader
from medkern.io.files import DataError
from medkern.io.npz import read_npz

SIZE = 28


@dataclass
class Parts:
    """Images (N, C, 28, 28) from 0 to 1 with their classes, for training, validation and the test."""

    train: ArrayDataset
    validation: ArrayDataset
    test: ArrayDataset
    classes: list[str]


def load_digits(seed: int) -> Parts:
    """The 1797 handwritten digits of scikit-learn, 8x8, enlarged to 28x28 by linear interpolation."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    small = (digits.images[:, None] / 16).astype(np.float32)
    x = medkern.kernels.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    y = digits.target.astype(np.int64)
    x, x_test, y, y_test = train_test_split(x, y, test_size=360, stratify=y, random_state=seed)
    x, x_val, y, y_val = train_test_split(x, y, test_size=180, stratify=y, random_state=seed)
    parts = (ArrayDataset(*pair) for pair in ((x, y), (x_val, y_val), (x_test, y_test)))
    return Parts(*parts, [str(digit) for digit in range(10)])


def load_medmnist(path: Path) -> Parts:
    """A 2-D data set of MedMNIST: train_images (N, 28, 28[, 3]), train_labels (N, 1), val_images, ..."""
    arrays = read_npz(path)
    parts = []
    for part in ("train", "val", "test"):
        missing = {f"{part}_images", f"{part}_labels"} - set(arrays)
        if missing:
            raise DataError(f"{path}: has no {', '.join(sorted(missing))}")
        x, y = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if x.ndim not in (3, 4) or x.shape[1:3] != (SIZE, SIZE):
            raise DataError(f"{path}: {part}_images must have shape (N, {SIZE}, {SIZE}[, C]), got {x.shape}")
        if y.shape not in ((len(x),), (len(x), 1)):
            raise DataError(
                f"{path}: {part}_labels must have shape ({len(x)}, 1), one class each, got {y.shape}"
            )
        x = x[..., None] if x.ndim == 3 else x
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32) / 255
        parts.append(ArrayDataset(x, y.reshape(-1).astype(np.int64)))
    count = 1 + max(int(part.y.max()) for part in parts)
    return Parts(*parts, [str(number) for number in range(count)])


def main() -> None:
    """Trains, tests and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a .npz of MedMNIST (default: scikit-learn's digits)")
    parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()

    start = time.perf_counter()
    medkern.random.manual_seed(options.seed)
    parts = load_digits(options.seed) if options.data is None else load_medmnist(options.data)
    # Conv(32), pool, Conv(64), pool, Conv(64), Dense(64), Dense(10), as in the introduction of Keras.
    model = models.CNN(
        SIZE,
        parts.train.x.shape[1],
        len(parts.classes),
        filters=(32, 64, 64),
        hidden=(64,),
        padding=0,
        poolings=2,
    )
    loader = DataLoader(parts.train, 32, shuffle=True, seed=options.seed, augment=Augment(shift=2))
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    trainer = medkern.Trainer(
        model,
        losses.CrossEntropyLoss(),
        optimizer,
        metrics=metrics.ClassificationMetrics(parts.classes),
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loader)),
    )
    trainer.fit(
        loader,
        DataLoader(parts.validation, 256),
        epochs=options.epochs,
        callbacks=[BestWeights("val_loss")],
        progress=lambda record: print(f"epoch {record['epoch']}: accuracy {record['val_accuracy']:.4f}"),
    )
    tested = metrics.ClassificationMetrics(parts.classes)
    tested.update(trainer.predict(parts.test.x, 256), parts.test.y)
    result = {
        **tested.compute(),
        "confusion": tested.confusion.tolist(),
        "samples": {name: len(getattr(parts, name)) for name in ("train", "validation", "test")},
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
